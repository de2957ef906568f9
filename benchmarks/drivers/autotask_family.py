"""The companions of a server with four processes: their memory after some tasks, and the time until a killed one is replaced."""

import os
import sys
import time
from statistics import median
from typing import Any

import psutil
from django.utils.module_loading import import_string

from benchmarks.drivers.autotask_crew import APART, LIVED_WELL, await_workers
from benchmarks.drivers.autotask_idle import megabytes
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers

_PROCESSES = 4
_TASKS = 400

#: Seconds for a task.
_LIMIT = 60.0


def family(driver: Driver) -> dict[str, Any]:
    """Measure companions that are forks of one template, and others each with a guard and an interpreter of its own."""
    apart = _measure(driver, {APART: "1"})
    forks = _measure(driver, {})
    return {
        "site_mb": apart["site"],
        "apart_mb": apart["companions"],
        "forks_mb": forks["companions"],
        "memory_ratio": forks["companions"] / apart["companions"],
        "apart_ms": apart["ms"],
        "forks_ms": forks["ms"],
    }


def _measure(driver: Driver, variables: dict[str, str]) -> dict[str, float]:
    os.environ.pop(APART, None)
    os.environ.update(variables)
    command = [sys.executable, "-m", "gunicorn", "benchmarks.served.family", f"--workers={_PROCESSES}"]
    command += ["--bind=127.0.0.1:0", "--no-control-socket"]
    workers = Workers(command, 1)
    try:
        return _take(driver, workers)
    finally:
        workers.stop()


def _take(driver: Driver, workers: Workers) -> dict[str, float]:
    """Return the memory of the server's processes and of all that belongs to companions in MB, and the milliseconds."""
    alive = await_workers(driver, workers, _PROCESSES, set())
    for handle in import_string("benchmarks.functions.use_orm").enqueue_many([()] * _TASKS):
        handle.wait(timeout=_LIMIT)
    time.sleep(LIVED_WELL)
    memory = {"site": 0.0, "companions": 0.0}
    for process in workers.family():
        memory["site" if "gunicorn" in " ".join(process.cmdline()) else "companions"] += megabytes(process)
    gone: set[int] = set()
    seconds = []
    for victim in alive:
        gone.add(victim)
        began = time.monotonic()
        psutil.Process(victim).kill()
        await_workers(driver, workers, _PROCESSES, gone)
        seconds.append(time.monotonic() - began)
    return {**memory, "ms": 1000 * median(seconds)}
