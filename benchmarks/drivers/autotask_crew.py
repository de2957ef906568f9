"""Workers under one supervisor: their memory after some tasks, and the time until a killed one has a successor."""

import os
import sys
import time
from typing import Any

import psutil
from django.utils.module_loading import import_string

from benchmarks.drivers.autotask_idle import megabytes
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers

#: The environment variable that is set if workers are not to be forks. Its settings module cannot be imported here.
APART = "BENCHMARK_APART"

SETTINGS = "benchmarks.served.crew"

_WORKERS = 4
_TASKS = 400

#: Seconds that a worker has to live for its death not to count as one of several in a row, after which starts are delayed.
LIVED_WELL = 10.5

#: Seconds for all workers to start, or to run all tasks.
_LIMIT = 120.0


def crew(driver: Driver) -> dict[str, Any]:
    """Measure workers that are forks, and others that are not."""
    apart = _measure(driver, {APART: "1"})
    forks = _measure(driver, {})
    return {
        "apart_mb": apart[0],
        "forks_mb": forks[0],
        "memory_ratio": forks[0] / apart[0],
        "apart_ms": apart[1],
        "forks_ms": forks[1],
    }


def _measure(driver: Driver, variables: dict[str, str]) -> tuple[float, float]:
    """Return the memory of supervisor and workers in MB, and the milliseconds from a death to the successor's start."""
    os.environ.pop(APART, None)
    os.environ.update(variables)
    command = [sys.executable, *driver.worker_command(), "--workers", str(_WORKERS), "--settings", SETTINGS]
    workers = Workers(command, 1)
    try:
        return _take(driver, workers)
    finally:
        workers.stop()


def _take(driver: Driver, workers: Workers) -> tuple[float, float]:
    alive = await_workers(driver, workers, _WORKERS, set())
    for handle in import_string("benchmarks.functions.use_orm").enqueue_many([()] * _TASKS):
        handle.wait(timeout=_LIMIT)
    time.sleep(LIVED_WELL)
    memory = sum(map(megabytes, workers.family()))
    victim = alive.pop()
    began = time.monotonic()
    psutil.Process(victim).kill()
    await_workers(driver, workers, _WORKERS, {victim})
    return memory, 1000 * (time.monotonic() - began)


def await_workers(driver: Driver, workers: Workers, count: int, gone: set[int]) -> set[int]:
    """Wait until all workers, other than those that are gone, are in the register; return their process ids."""
    before = time.monotonic() + _LIMIT
    while time.monotonic() < before:
        workers.check()
        alive = set(driver.sql.value("SELECT coalesce(array_agg(pid), '{}') FROM autotask_worker")) - gone
        if len(alive) == count:
            return alive
        time.sleep(0.005)
    raise RuntimeError("not all workers have started")
