"""The cost of tasks that are held behind one saturated key, for the tasks next to them."""

from benchmarks.measures.measure import Bench, Figure, Measure
from benchmarks.session import Figures


def _take(bench: Bench) -> dict[str, float]:
    def drain(prefill: str) -> Figures:
        # Longer than other drains: how long the disk takes just then differs more than what is looked for.
        return bench.run("drain", tasks=3 * bench.scale.tasks, prefill=prefill, rows=bench.scale.rows)

    # The same bytes in both databases, as large a copy and as long a vacuum before each drain: after these, each wait for the
    # disk may take twice as long. Before and after: a machine that slows down meanwhile must not look like the cost of held tasks.
    before, next_to, after = drain("held_aside"), drain("held"), drain("held_aside")
    figures = {"next_to": next_to["rate"], "ratio": next_to["rate"] * 2 / (before["rate"] + after["rate"])}
    if next_to["server_cpu_us"] is not None:
        figures["cpu_ratio"] = _cpu(next_to) * 2 / (_cpu(before) + _cpu(after))
    return figures


def _cpu(found: Figures) -> float:
    return float(found["worker_cpu_us"] + found["server_cpu_us"])


MEASURE = Measure(
    "held",
    "a drain next to a million tasks that are held behind one key",
    (
        Figure("next_to", "drain next to held tasks (1,000,000, or 100,000 with --quick)", "tasks/s"),
        Figure("ratio", "to the drain with the same rows in a table of nobody", "×", least=0.95),
        Figure("cpu_ratio", "CPU of worker and server for a task, to the same", "×"),
    ),
    _take,
)
