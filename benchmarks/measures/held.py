"""The cost of tasks that are held behind one saturated key, for the tasks beside them."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    # Before and after: a machine that slows down meanwhile must not look like the cost of held tasks.
    before = bench.drain(prefill="held", rows=0)
    beside = bench.drain(prefill="held", rows=bench.scale.rows)
    without = (before + bench.drain(prefill="held", rows=0)) / 2
    return {"beside": beside, "ratio": beside / without}


MEASURE = Measure(
    "held",
    "a drain beside a million tasks that are held behind one key",
    (
        Figure("beside", "drain beside held tasks (1,000,000, or 100,000 with --quick)", "tasks/s"),
        Figure("ratio", "to the drain without them", "×", least=0.95),
    ),
    _take,
)
