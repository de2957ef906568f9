"""The rate of calls one by one, compared with bare INSERTs of the same row."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("enqueue_beside_insert", tasks=min(3_000, bench.scale.tasks))


MEASURE = Measure(
    "enqueue",
    "calls one by one, each with its own commit",
    (
        Figure("rate", "calls", "tasks/s"),
        Figure("bare_rate", "bare INSERTs of the same row on Django's cursor", "rows/s"),
        Figure("ratio", "calls / bare INSERTs", "×", least=0.9),
    ),
    _take,
)
