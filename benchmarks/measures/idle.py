"""The cost of an idle companion."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    # Some of its statements come only every half minute.
    found = bench.run("idle", "companion", seconds=3 * bench.scale.seconds)
    return found | {"beyond_django_mb": found["worker_mb"] - found["django_mb"]}


MEASURE = Measure(
    "idle",
    "a companion that has nothing to do",
    (
        Figure("statements_per_s", "statements (or transactions) of an idle companion", "1/s", most=0.5),
        Figure("cpu_percent", "CPU of guard and worker", "%", most=0.3),
        Figure("connections", "connections", "", most=2),
        Figure("guard_mb", "memory of the guard (PSS)", "MB", most=13),
        Figure("worker_mb", "memory of the worker (PSS)", "MB"),
        Figure("beyond_django_mb", "of which beyond a bare django.setup()", "MB", most=12),
    ),
    _take,
    once=True,
)
