"""The rate of one call for many, compared with a COPY of the same rows and with calls one by one."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("bulk_beside_copy", tasks=min(10_000, bench.scale.tasks))


MEASURE = Measure(
    "bulk",
    "one call of enqueue_many() for 10,000, or as many as are drained",
    (
        Figure("rate", "enqueue_many()", "tasks/s"),
        Figure("copy_rate", "COPY of the same rows on Django's cursor", "rows/s"),
        Figure("copy_ratio", "enqueue_many() / COPY", "×", least=0.5),
        Figure("single_ratio", "enqueue_many() / calls one by one", "×", least=10),
    ),
    _take,
)
