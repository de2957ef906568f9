"""The time from a call to the function's first line, with an idle companion."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    found = bench.run("latency", "companion")
    return {name: found[name] for name in ("p50_ms", "p99_ms", "call_p50_ms")}


MEASURE = Measure(
    "latency",
    "call to first line, idle, with a companion",
    (
        Figure("p50_ms", "call to first line, p50", "ms", most=1.5),
        Figure("p99_ms", "call to first line, p99", "ms", most=5),
        Figure("call_p50_ms", "of which the call itself, with its commit", "ms"),
    ),
    _take,
)
