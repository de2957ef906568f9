"""The rate of a drain against the size of the tables, for the plot."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: Sizes as fractions of the rows of the scale.
_PARTS = (100, 10, 1)

_KINDS = ("future", "ended")


def _take(bench: Bench) -> dict[str, float]:
    return {"0": bench.drain()} | {
        f"{kind}_{part}": bench.drain(prefill=kind, rows=bench.scale.rows // part) for kind in _KINDS for part in _PARTS
    }


def points(figures: dict[str, float], rows: int) -> dict[str, list[tuple[int, float]]]:
    """Return sizes and rates, by kind of rows.

    :param rows: rows of the scale of these figures.
    """
    if not figures:
        return {}
    return {
        kind: [(0, figures["0"]), *((rows // part, figures[f"{kind}_{part}"]) for part in _PARTS)] for kind in _KINDS
    }


MEASURE = Measure(
    "curve",
    "the rate of a drain against the size of the tables",
    (
        Figure("0", "drain, empty tables", "tasks/s"),
        *(
            Figure(f"{kind}_{part}", f"drain with {kind} rows, 1/{part} of the largest table", "tasks/s")
            for kind in _KINDS
            for part in _PARTS
        ),
    ),
    _take,
)
