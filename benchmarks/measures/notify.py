"""The time from a call to the function's first line, with a dedicated worker that is notified by NOTIFY."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    found = bench.run("latency")
    return {name: found[name] for name in ("p50_ms", "p99_ms")}


MEASURE = Measure(
    "notify",
    "call to first line, idle, with a dedicated worker",
    (
        Figure("p50_ms", "call to first line by NOTIFY, p50", "ms", most=3),
        Figure("p99_ms", "call to first line by NOTIFY, p99", "ms"),
    ),
    _take,
)
