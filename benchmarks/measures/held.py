"""The cost of tasks that are held behind one saturated key, for the tasks next to them."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    # Longer than other drains: how long the disk takes just then differs more than what is looked for.
    tasks = 3 * bench.scale.tasks
    # Before and after: a machine that slows down meanwhile must not look like the cost of held tasks.
    before = bench.drain(tasks=tasks, prefill="held", rows=0)
    next_to = bench.drain(tasks=tasks, prefill="held", rows=bench.scale.rows)
    without = (before + bench.drain(tasks=tasks, prefill="held", rows=0)) / 2
    return {"next_to": next_to, "ratio": next_to / without}


MEASURE = Measure(
    "held",
    "a drain next to a million tasks that are held behind one key",
    (
        Figure("next_to", "drain next to held tasks (1,000,000, or 100,000 with --quick)", "tasks/s"),
        Figure("ratio", "to the drain without them", "×", least=0.95),
    ),
    _take,
)
