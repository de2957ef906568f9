"""One call beside many idle workers."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: Idle workers; a server has 100 connections by default.
_MANY = 60


def _take(bench: Bench) -> dict[str, float]:
    one = bench.run("crowd", workers=1)["server_ms"]
    many = bench.run("crowd", workers=_MANY)["server_ms"]
    each = bench.run("crowd", "each", workers=_MANY)["server_ms"]
    every = bench.run("crowd", "all", workers=_MANY)["server_ms"]
    return {"one_ms": one, "many_ms": many, "ratio": many / one, "each_ratio": each / one, "all_ratio": every / one}


MEASURE = Measure(
    "crowd",
    f"one call beside {_MANY} idle workers (connections that claim as workers do)",
    (
        Figure("one_ms", "CPU of the server for a call beside one idle worker", "ms"),
        Figure("many_ms", f"the same beside {_MANY} of one host", "ms"),
        Figure("ratio", "to one idle worker", "×", most=2),
        Figure("each_ratio", "the same if each of them listens, and a call notifies one", "×"),
        Figure("all_ratio", "the same if each of them listens, and a call notifies all", "×"),
    ),
    _take,
)
