"""The companions of a server with four processes, as forks of one template, and each by itself."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("family", limit=300)


MEASURE = Measure(
    "family",
    "companions beside gunicorn with four workers, on a site with the admin, as forks and each by itself",
    (
        Figure("site_mb", "memory of gunicorn itself (PSS)", "MB"),
        Figure("apart_mb", "of guards and companions after tasks that use the ORM, each by itself", "MB"),
        Figure("forks_mb", "the same, as forks with one guard", "MB"),
        Figure("memory_ratio", "forks to each by itself", "×", most=0.45),
        Figure(
            "apart_ms", "from the death of a companion to its successor's entry in the register, each by itself", "ms"
        ),
        Figure("forks_ms", "the same, as forks", "ms", most=150),
    ),
    _take,
)
