"""Background workers: the latency and the rate of what is put, beside tasks and bare statements, and what idle ones cost."""

import os
import statistics
import time
from importlib import import_module
from typing import Any

import django
from django.db import connections, transaction

from benchmarks.drivers import autotask_idle
from benchmarks.drivers.autotask_bare import SLICE, bare_insert, empty, seconds
from benchmarks.drivers.base import Driver
from benchmarks.drivers.metrics import paced, server_process, start_idle, summary, wait_for
from benchmarks.drivers.workers import cpu_seconds
from benchmarks.figures import percentile
from benchmarks.settings import MODULES

#: Seconds until all background workers have a host.
_START = 60.0

_TASKS_A_SECOND = 50


def put_beside_call(driver: Driver) -> dict[str, Any]:
    """Measure the time until the first line of a task, and until that of a queue worker, in turns, with an idle worker."""
    loops = _declare()
    workers = start_idle(driver)
    try:
        _wait_for_hosts(driver, 1)
        acts = {"call": driver.enqueue, "put": loops.take.put}
        took: dict[str, list[float]] = {name: [] for name in acts}
        for number in paced(driver):
            for name, act in acts.items():
                driver.reader.clear()
                began = time.monotonic_ns()
                act(number)
                wait_for(driver.reader, 1, workers)
                took[name].append((driver.reader.records()[0].moment - began) / 1e6)
                time.sleep(0.05)  # so that neither finds the other at work
    finally:
        workers.stop()
    call, put = (percentile(took[name], 0.5) for name in ("call", "put"))
    return {"put_p50_ms": put, "call_p50_ms": call, "ratio": put / call, **summary(took["put"])}


def puts_beside_insert(driver: Driver) -> dict[str, Any]:
    """Measure how many values one queue worker handles one after the other, and single INSERTs of the same row.

    The INSERTs are measured before and after, on the same server, each with its own commit.
    """
    loops = _declare()
    driver.connect()
    count, take = driver.order.tasks, loops.take
    take.put(0)
    insert = bare_insert(driver)
    bare = [seconds(SLICE, insert) for _ in range(5)]
    empty()
    with transaction.atomic():
        for number in range(count):
            take.put(number)
    driver.reader.clear()
    driver.sql.settle()
    server, workers = server_process(driver.sql), driver.start_workers(1)
    try:
        wait_for(driver.reader, 1, workers)
        cpu, server_cpu = workers.cpu_seconds(), cpu_seconds(server) if server else 0.0
        while driver.reader.count() < count or driver.sql.value(driver.unfinished):
            workers.check()
            time.sleep(0.005)
        ended = time.monotonic_ns()
        cpu, server_cpu = workers.cpu_seconds() - cpu, (cpu_seconds(server) if server else 0.0) - server_cpu
    finally:
        workers.stop()
    records = driver.reader.records()
    bare += [seconds(SLICE, insert) for _ in range(5)]
    rate, bare_rate = (count - 1) / ((ended - records[0].moment) / 1e9), SLICE / statistics.median(bare)
    return {
        "rate": rate,
        "bare_rate": bare_rate,
        "ratio": rate / bare_rate,
        "worker_cpu_us": 1e6 * cpu / count,
        "server_cpu_us": 1e6 * server_cpu / count if server else None,
        "in_order": float([record.number for record in records] == list(range(count))),
    }


def interval_beside_tasks(driver: Driver) -> dict[str, Any]:
    """Measure how often and how late an interval worker runs while fifty tasks a second come.

    How late is counted from the earliest run.
    """
    loops, order = _declare(), driver.order
    workers = start_idle(driver)
    try:
        loops.tick.start()
        _wait_for_hosts(driver, 2)
        driver.reader.clear()
        began = time.monotonic()
        for number in range(int(order.seconds * _TASKS_A_SECOND)):
            time.sleep(max(0.0, began + number / _TASKS_A_SECOND - time.monotonic()))
            driver.enqueue(number)
            workers.check()
        time.sleep(max(0.0, began + order.seconds - time.monotonic()))
    finally:
        until = time.monotonic_ns()
        workers.stop()
    moments = [each.moment for each in driver.reader.records() if each.number == loops.TICK and each.moment <= until]
    step = int(loops.INTERVAL * 1e9)
    usual = statistics.median_low(moment % step for moment in moments)
    # From a quarter of the interval before the usual moment, where a run counts as early and not as very late.
    offsets = [(moment - usual + step / 4) % step for moment in moments]
    late = [(offset - min(offsets)) / 1e6 for offset in offsets]
    return {"runs": len(moments), "expected": (until / 1e9 - began) / loops.INTERVAL, **summary(late)}


def idle_background(driver: Driver) -> dict[str, Any]:
    """Measure the same as for any idle companion, with twenty background workers that have nothing to do."""
    loops = _declare()
    return autotask_idle.idle(driver, lambda: _wait_for_hosts(driver, 1 + loops.IDLE))


def _declare() -> Any:
    # Before Django is set up: workers that are started inherit this.
    os.environ[MODULES] = "benchmarks.loops"
    django.setup()
    return import_module("benchmarks.loops")


def _wait_for_hosts(driver: Driver, count: int) -> None:
    deadline = time.monotonic() + _START
    while driver.sql.value("SELECT count(worker_id) FROM autotask_background_instance") < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {count} background workers have a host")
        time.sleep(0.05)
    connections.close_all()
    time.sleep(1.0)
