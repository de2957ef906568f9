"""The cost of other rows: future ones, ended ones, and dead ones that an old transaction keeps."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    rows = bench.scale.rows
    # Before and after the others: a machine that slows down meanwhile must not look like a larger table.
    before = bench.drain()
    rates = {
        "future_older": bench.drain(prefill="future", rows=rows),
        "future_younger": bench.drain(prefill="future", rows=rows, younger=True),
        "ended": bench.drain(prefill="ended", rows=rows),
        "snapshot": bench.drain(snapshot=True),
    }
    empty = (before + bench.drain()) / 2
    buffers = bench.run("claim_buffers", prefill="future", rows=rows)
    pages = {"claim_buffers": buffers["claim"], "find_buffers": buffers["find"]}
    return {"empty": empty, **pages} | {name: rate / empty for name, rate in rates.items()}


MEASURE = Measure(
    "size",
    "a drain with a million other rows in the tables",
    (
        Figure("empty", "drain, empty tables", "tasks/s"),
        Figure("future_older", "with future rows, older than the work", "×", least=0.85),
        Figure("future_younger", "with future rows, younger than the work", "×", least=0.85),
        Figure("ended", "with ended rows", "×", least=0.85),
        Figure("snapshot", "with an old snapshot open", "×", least=0.85),
        Figure("claim_buffers", "pages that a claim of ten tasks reads or changes", "", most=200),
        Figure("find_buffers", "pages read to find and lock a hundred tasks", ""),
    ),
    _take,
)
