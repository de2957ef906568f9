"""The cost of other rows: future ones, ended ones, and dead ones that an old transaction keeps."""

import statistics
from typing import Any

from benchmarks.measures.measure import Bench, Figure, Measure
from benchmarks.session import Figures

#: Those with other rows or a snapshot, and those next to which they run: with the same rows in a table of nobody, or without snapshot.
_OTHERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "future_older": ({"prefill": "future"}, {"prefill": "future_aside"}),
    "future_younger": ({"prefill": "future", "younger": True}, {"prefill": "future_aside", "younger": True}),
    "ended": ({"prefill": "ended"}, {"prefill": "ended_aside"}),
    "snapshot": ({"snapshot": True}, {}),
}


def _take(bench: Bench) -> dict[str, float]:
    rows = bench.scale.rows

    def drain(how: dict[str, Any]) -> Figures:
        # Longer than other drains: how long the disk takes just then differs more than what is looked for.
        return bench.run("drain", tasks=3 * bench.scale.tasks, rows=rows if "prefill" in how else 0, **how)

    figures, empty = dict[str, float](), []
    for name, (how, without) in _OTHERS.items():
        # Before and after: a machine that slows down meanwhile must not look like a larger table.
        before, found, after = drain(without), drain(how), drain(without)
        empty += [before["rate"], after["rate"]]
        figures[name] = 2 * found["rate"] / (before["rate"] + after["rate"])
        if found["server_cpu_us"] is not None:
            figures[f"{name}_cpu"] = 2 * found["server_cpu_us"] / (before["server_cpu_us"] + after["server_cpu_us"])
    buffers = bench.run("claim_buffers", prefill="future", rows=rows)
    pages = {"claim_buffers": buffers["claim"], "find_buffers": buffers["find"]}
    return {"empty": statistics.median(empty), **pages, **figures}


MEASURE = Measure(
    "size",
    "a drain with a million other rows in the tables",
    (
        Figure("empty", "drain, empty tables", "tasks/s"),
        Figure("future_older", "with future rows, older than the work", "×", least=0.95),
        Figure("future_younger", "with future rows, younger than the work", "×", least=0.95),
        Figure("ended", "with ended rows", "×", least=0.95),
        Figure("snapshot", "with an old snapshot open", "×", least=0.95),
        *(
            Figure(f"{name}_cpu", f"CPU of the server for a task: {name.replace('_', ', ')}", "×", most=1.1)
            for name in _OTHERS
        ),
        Figure("claim_buffers", "pages that a claim of ten tasks reads or changes", "", most=200),
        Figure("find_buffers", "pages read to find and lock a hundred tasks", ""),
    ),
    _take,
)
