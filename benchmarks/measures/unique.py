"""The rates of unique calls, compared with plain ones."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("unique_beside_plain", tasks=min(10_000, bench.scale.tasks))


MEASURE = Measure(
    "unique",
    "unique calls, and plain ones in turns",
    (
        Figure("single_rate", "unique calls one by one", "tasks/s"),
        Figure("single_ratio", "to plain calls", "×", least=0.85),
        Figure("many_rate", "enqueue_many() of 10,000 unique tasks, or as many as are drained", "tasks/s"),
        Figure("many_ratio", "to enqueue_many() of plain tasks", "×", least=0.6),
    ),
    _take,
)
