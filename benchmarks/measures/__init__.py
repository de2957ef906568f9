"""The measures of ``python -m benchmarks``, in the order in which they are taken."""

from benchmarks.measures import (
    bulk,
    curve,
    drain,
    enqueue,
    fsync,
    growth,
    idle,
    latency,
    notify,
    roundtrip,
    size,
    sleep,
    workers,
)
from benchmarks.measures.measure import Measure

MEASURES: dict[str, Measure] = {
    found.MEASURE.name: found.MEASURE
    for found in (drain, sleep, enqueue, bulk, latency, notify, roundtrip, size, curve, workers, fsync, idle, growth)
}
