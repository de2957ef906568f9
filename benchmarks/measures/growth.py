"""The growth of a worker's memory over many tasks."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return {"growth_mb": bench.run("growth", "companion", tasks=bench.scale.growth)["growth_mb"]}


MEASURE = Measure(
    "growth",
    "memory of a worker before and after many tasks",
    (
        Figure(
            "growth_mb", "growth of a worker's memory over many tasks (100,000, or 20,000 with --quick)", "MB", most=1
        ),
    ),
    _take,
    once=True,
)
