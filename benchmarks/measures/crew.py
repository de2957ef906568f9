"""Four workers under one supervisor, as forks of it and as interpreters of their own."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("crew", limit=300)


MEASURE = Measure(
    "crew",
    "worker --workers 4 on a site with the admin, as forks and each by itself",
    (
        Figure("apart_mb", "memory after tasks that use the ORM, each by itself (PSS)", "MB"),
        Figure("forks_mb", "the same, as forks", "MB"),
        Figure("memory_ratio", "forks to each by itself", "×", most=0.4),
        Figure("apart_ms", "from the death of a worker to its successor's entry in the register, each by itself", "ms"),
        Figure("forks_ms", "the same, as forks", "ms", most=150),
    ),
    _take,
)
