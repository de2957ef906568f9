"""The time of a check with a JSON schema."""

import statistics
import time
from importlib import import_module
from typing import Any

from benchmarks.drivers.base import Driver

#: Checks that are timed together, and how often.
_BATCH, _BATCHES = 100, 50


def schema_check(driver: Driver) -> dict[str, Any]:
    """Measure the time of one check on the CPU, in microseconds."""
    driver.connect()
    measured = import_module("benchmarks.checked")
    schema, fitting = measured.checked.options.json_schema, measured.FITTING
    assert schema.errors(fitting) == []
    return {"check_us": statistics.median(_batch(schema, fitting) for _ in range(_BATCHES))}


def _batch(schema: Any, value: object) -> float:
    begun = time.thread_time()
    for _ in range(_BATCH):
        schema.errors(value)
    return (time.thread_time() - begun) / _BATCH * 1e6
