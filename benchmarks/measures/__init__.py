"""The measures of ``python -m benchmarks``, in the order in which they are taken."""

from benchmarks.measures import (
    background,
    bucket,
    bulk,
    crew,
    crowd,
    curve,
    drain,
    enqueue,
    fsync,
    growth,
    held,
    http,
    idle,
    latency,
    limits,
    notify,
    rate,
    roundtrip,
    schema,
    size,
    sleep,
    unique,
    workers,
)
from benchmarks.measures.measure import Measure

MEASURES: dict[str, Measure] = {
    found.MEASURE.name: found.MEASURE
    for found in (
        drain,
        sleep,
        enqueue,
        bulk,
        latency,
        notify,
        crowd,
        roundtrip,
        size,
        curve,
        workers,
        fsync,
        limits,
        held,
        unique,
        rate,
        bucket,
        background,
        http,
        schema,
        idle,
        growth,
        crew,
    )
}
