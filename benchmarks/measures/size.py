"""The cost of other rows: future ones, ended ones, and dead ones that an old transaction keeps."""

import statistics
from typing import Any

from benchmarks.measures.measure import Bench, Figure, Measure

#: Those with other rows or a snapshot, and how they are made.
_OTHERS: dict[str, dict[str, Any]] = {
    "future_older": {"prefill": "future"},
    "future_younger": {"prefill": "future", "younger": True},
    "ended": {"prefill": "ended"},
    "snapshot": {"snapshot": True},
}


def _take(bench: Bench) -> dict[str, float]:
    rows = bench.scale.rows
    # Longer than other drains: how long the disk takes just then differs more than what is looked for.
    tasks = 3 * bench.scale.tasks
    empty, ratios = [bench.drain(tasks=tasks)], {}
    for name, how in _OTHERS.items():
        rate = bench.drain(tasks=tasks, **how, **({"rows": rows} if "prefill" in how else {}))
        # Between two drains of empty tables: a machine that slows down meanwhile must not look like a larger table.
        empty.append(bench.drain(tasks=tasks))
        ratios[name] = 2 * rate / (empty[-2] + empty[-1])
    buffers = bench.run("claim_buffers", prefill="future", rows=rows)
    pages = {"claim_buffers": buffers["claim"], "find_buffers": buffers["find"]}
    return {"empty": statistics.median(empty), **pages, **ratios}


MEASURE = Measure(
    "size",
    "a drain with a million other rows in the tables",
    (
        Figure("empty", "drain, empty tables", "tasks/s"),
        Figure("future_older", "with future rows, older than the work", "×", least=0.95),
        Figure("future_younger", "with future rows, younger than the work", "×", least=0.95),
        Figure("ended", "with ended rows", "×", least=0.95),
        Figure("snapshot", "with an old snapshot open", "×", least=0.95),
        Figure("claim_buffers", "pages that a claim of ten tasks reads or changes", "", most=200),
        Figure("find_buffers", "pages read to find and lock a hundred tasks", ""),
    ),
    _take,
)
