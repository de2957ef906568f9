"""The metrics of all queues: each function carries out one order, and returns figures."""

import random
import time
from collections.abc import Iterator
from typing import Any

import psutil

from benchmarks import probe
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers, cpu_seconds
from benchmarks.figures import percentile
from benchmarks.sql import Connection

Figures = dict[str, Any]

#: Seconds between two looks at the probe.
_LOOK = 0.002

#: Seconds within which a worker has to begin its first task.
_START = 60.0

#: Seconds between two samples of a latency: long enough for the system to be idle again, and for queues that limit their
#: wake-ups.
_PAUSE = (0.03, 0.06)


def prepare(driver: Driver) -> Figures:
    """Make the tables and fill them."""
    order = driver.order
    driver.set_up()
    driver.connect()
    if order.tasks and order.younger:
        driver.fill(order.tasks)
    if order.prefill != "none":
        driver.prefill(order.prefill, order.rows)
    if order.tasks and not order.younger:
        driver.fill(order.tasks)
    driver.sql.settle()
    return {}


def drain(driver: Driver) -> Figures:
    """Measure how many waiting tasks a second workers finish durably.

    The clock runs from the moment when each worker has begun its first task, which leaves out their start, until no
    task in the database is unfinished.
    """
    order, reader = driver.order, driver.reader
    reader.clear()
    driver.sql.settle()
    server, before = server_process(driver.sql), _written(driver.sql)
    with Connection() as other:
        if order.snapshot:
            other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            other.rows("SELECT count(*) FROM pg_class")
        workers = driver.start_workers(order.workers)
        try:
            wait_for(reader, 1, workers)
            cpu, server_cpu = workers.cpu_seconds(), cpu_seconds(server) if server else 0.0
            end = _wait_for_end(driver, workers)
            cpu, server_cpu = workers.cpu_seconds() - cpu, (cpu_seconds(server) if server else 0.0) - server_cpu
        finally:
            workers.stop()
    written = _written(driver.sql) - before
    records = reader.records()
    firsts = {record.pid: record.moment for record in reversed(records)}
    began = max(firsts.values())
    counted = sum(record.moment >= began for record in records)
    return {
        "rate": counted / ((end - began) / 1e9),
        "tasks": len(records),
        "complete": len({record.number for record in records}) == order.tasks,
        "duplicates": len(records) - len({record.number for record in records}),
        "workers": len(firsts),
        "worker_cpu_us": 1e6 * cpu / len(records),
        "server_cpu_us": 1e6 * server_cpu / len(records) if server else None,
        "wal_bytes": written / len(records),
    }


def enqueue(driver: Driver) -> Figures:
    """Measure how many calls a second one process makes, each with its own commit."""
    order = driver.order
    driver.connect()
    for number in range(50):
        driver.enqueue(number)
    cpu, began, done = time.process_time(), time.perf_counter(), 0
    while done < order.tasks and time.perf_counter() - began < order.limit:
        driver.enqueue(done)
        done += 1
    seconds = time.perf_counter() - began
    return {"rate": done / seconds, "tasks": done, "client_cpu_us": 1e6 * (time.process_time() - cpu) / done}


def bulk(driver: Driver) -> Figures:
    """Measure how many rows a second the queue's own call for many makes."""
    driver.connect()
    tasks, cpu, began = driver.order.tasks, time.process_time(), time.perf_counter()
    driver.enqueue_many(tasks)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"rate": tasks / seconds, "client_cpu_us": 1e6 * cpu / tasks, "tasks": tasks}


def latency(driver: Driver) -> Figures:
    """Measure the time from just before the call to the first line of the function, with an idle worker."""
    reader, first_lines, returns = driver.reader, [], []
    workers = start_idle(driver)
    try:
        for number in paced(driver):
            reader.clear()
            began = time.monotonic_ns()
            driver.enqueue(number)
            returned = time.monotonic_ns()
            wait_for(reader, 1, workers)
            (record,) = reader.records()
            first_lines.append((record.moment - began) / 1e6)
            returns.append((returned - began) / 1e6)
    finally:
        workers.stop()
    return summary(first_lines) | {"call_p50_ms": percentile(returns, 0.5)}


def roundtrip(driver: Driver) -> Figures:
    """Measure the time until the caller has the result, with an idle worker."""
    workers, took = start_idle(driver), []
    try:
        for number in paced(driver):
            began = time.monotonic_ns()
            driver.round_trip(number)
            took.append((time.monotonic_ns() - began) / 1e6)
    finally:
        workers.stop()
    return summary(took)


def summary(milliseconds: list[float]) -> Figures:
    """Return the figures of latencies."""
    shares = {f"p{share}_ms": percentile(milliseconds, share / 100) for share in (50, 95, 99)}
    return shares | {"samples": len(milliseconds)}


def start_idle(driver: Driver) -> Workers:
    """Start workers, and return when they have run a task and are idle."""
    driver.connect()
    driver.reader.clear()
    workers = driver.start_workers(driver.order.workers)
    try:
        driver.enqueue(-1)
        wait_for(driver.reader, 1, workers)
    except BaseException:
        workers.stop()
        raise
    time.sleep(1.0)
    return workers


def wait_for(reader: probe.Reader, count: int, workers: Workers, seconds: float = _START) -> None:
    """Wait until *count* tasks have begun."""
    deadline = time.monotonic() + seconds
    while reader.count() < count:
        workers.check()
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {reader.count()} of {count} tasks have begun within {seconds:g} s")
        time.sleep(_LOOK / 4)


def paced(driver: Driver) -> Iterator[int]:
    """Yield numbers, at moments that are independent of the polls of an idle worker."""
    chance, began = random.Random(1), time.monotonic()
    for number in range(driver.order.samples):
        time.sleep(chance.uniform(*_PAUSE) + chance.uniform(0, driver.look_every))
        yield number
        if time.monotonic() - began > driver.order.limit:
            return


def _wait_for_end(driver: Driver, workers: Workers) -> int:
    """Return the moment when all tasks have finished, or the limit is over."""
    deadline = time.monotonic() + driver.order.limit
    while time.monotonic() < deadline:
        # Asked only at the end, so that these queries do not disturb the measurement.
        if driver.reader.count() >= driver.order.tasks and not driver.sql.value(driver.unfinished):
            break
        workers.check()
        time.sleep(_LOOK)
    return time.monotonic_ns()


def server_process(connection: Connection) -> psutil.Process | None:
    """Return the first process of the server; None if it is not on this machine."""
    try:
        backend = psutil.Process(connection.value("SELECT pg_backend_pid()"))
        return backend.parent() if "postgres" in backend.name() else None
    except psutil.NoSuchProcess:
        return None


def _written(connection: Connection) -> int:
    """Return the bytes of WAL that the server has written."""
    return int(connection.value("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"))
