"""Unique calls beside plain ones, a rate that workers share, and the cost of tasks that wait at an empty bucket."""

import itertools
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.db import connections
from django.utils.module_loading import import_string

from benchmarks.drivers.autotask_bare import SLICE, TURNS, empty, seconds
from benchmarks.drivers.autotask_idle import CALM, OF_COUNTING, statements_of, without_autovacuum
from benchmarks.drivers.base import Driver
from benchmarks.drivers.metrics import start_idle
from benchmarks.figures import most_within

_SECOND = 1_000_000_000

#: Tasks that wait at an empty bucket.
_WAITING = 100

Act = Callable[[int], object]


def unique_beside_plain(driver: Driver) -> dict[str, Any]:
    """Measure unique and plain calls a second, one by one and many at once; no two calls have the same key."""
    driver.connect()
    functions = [import_string(f"benchmarks.functions.{name}") for name in ("nothing", "unique")]
    count, numbers = driver.order.tasks, itertools.count()
    single: list[Act] = [lambda _, call=function: call(next(numbers)) for function in functions]
    many: list[Act] = [
        lambda _, call=function.enqueue_many: call([(next(numbers),) for _ in range(count)]) for function in functions
    ]
    for act in single:
        seconds(50, act)
    plain, unique = _in_turns(max(1, min(3_000, count) // SLICE), single, SLICE)
    plain_many, unique_many = _in_turns(TURNS, many, 1, before=empty)
    return {
        "single_rate": SLICE / statistics.median(unique),
        "single_ratio": statistics.median(p / u for p, u in zip(plain, unique, strict=True)),
        "many_rate": count / statistics.median(unique_many),
        "many_ratio": statistics.median(p / u for p, u in zip(plain_many, unique_many, strict=True)),
    }


def shared_rate(driver: Driver) -> dict[str, Any]:
    """Measure when tasks begin that share a rate, on several worker processes that are at work before the first call."""
    order, reader, functions = driver.order, driver.reader, import_module("benchmarks.functions")
    workers = start_idle(driver)
    try:
        while driver.sql.value("SELECT count(*) FROM autotask_worker") < order.workers:
            workers.check()
            time.sleep(0.1)
        reader.clear()
        driver.enqueue_many(order.tasks)
        while not reader.count() or time.monotonic_ns() < reader.records()[0].moment + order.seconds * _SECOND:
            workers.check()
            time.sleep(0.5)
    finally:
        workers.stop()
    records = reader.records()
    moments = [record.moment for record in records]
    counted = sum(moment < min(moments) + order.seconds * _SECOND for moment in moments)
    return {
        "most_in_a_second": most_within(moments, _SECOND),
        "share": counted / (functions.RATE * order.seconds + functions.BURST),
        "processes": len({record.pid for record in records}),
    }


def empty_bucket(driver: Driver) -> dict[str, Any]:
    """Measure the statements of a worker that is idle, before and after calls that have to wait for an hour."""
    workers = start_idle(driver)
    try:
        idle = _statements_per_second(driver)
        driver.enqueue_many(_WAITING)
        waiting = _statements_per_second(driver)
        begun = driver.reader.count()
    finally:
        workers.stop()
    if begun > 1:
        raise RuntimeError(f"{begun} tasks have begun where only one may begin in an hour")
    return {"idle": idle, "waiting": waiting}


def _in_turns(
    turns: int, acts: list[Act], times: int, before: Callable[[], object] = lambda: None
) -> list[list[float]]:
    """Return the seconds of each act in each turn."""
    took: list[list[float]] = [[] for _ in acts]
    for _ in range(turns):
        for act, found in zip(acts, took, strict=True):
            before()
            found.append(seconds(times, act))
    return took


def _statements_per_second(driver: Driver) -> float:
    connections.close_all()
    time.sleep(CALM)
    with without_autovacuum(driver.sql):
        before, began = statements_of(driver.sql), time.monotonic()
        time.sleep(driver.order.seconds)
        return (statements_of(driver.sql) - before - OF_COUNTING) / (time.monotonic() - began)
