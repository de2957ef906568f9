"""The time that a JSON schema adds to a call."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("schema_check")


MEASURE = Measure(
    "schema",
    "calls whose arguments are checked with a JSON schema",
    (Figure("check_us", "a check of a flat object with five fields, median of its time on the CPU", "µs", most=200),),
    _take,
)
