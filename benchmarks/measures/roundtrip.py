"""The time from a call until the caller has the result."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    waited, awaited = bench.run("roundtrip", "companion"), bench.run("roundtrip", "await")
    return {
        "wait_p50_ms": waited["p50_ms"],
        "wait_p99_ms": waited["p99_ms"],
        "await_p50_ms": awaited["p50_ms"],
        "await_p99_ms": awaited["p99_ms"],
    }


MEASURE = Measure(
    "roundtrip",
    "call to result, idle, with a companion",
    (
        Figure("wait_p50_ms", "round trip with wait(), p50", "ms", most=2.5),
        Figure("wait_p99_ms", "round trip with wait(), p99", "ms"),
        Figure("await_p50_ms", "round trip with await_result(), p50", "ms", most=2.5),
        Figure("await_p99_ms", "round trip with await_result(), p99", "ms"),
    ),
    _take,
)
