"""The table at the end of the demo."""

from collections.abc import Iterable
from dataclasses import dataclass

HEAD = ("", "task", "expected", "state", "attempts", "seconds", "result or error")
WIDTHS = (3, 18, 24, 10, 9, 8, 0)


@dataclass(frozen=True)
class Row:
    """One task, with its outcome and problems."""

    task: str
    expected: str
    state: str
    attempts: int | None
    seconds: float | None
    text: str
    problems: list[str]


def table(rows: Iterable[Row]) -> str:
    """Return the rows as text."""
    lines = [_line(HEAD), "-" * 110]
    for row in rows:
        text = " ".join(row.text.split())
        cells = (
            "NO" if row.problems else "ok",
            row.task,
            row.expected,
            row.state,
            "-" if row.attempts is None else str(row.attempts),
            "-" if row.seconds is None else f"{row.seconds:.2f}",
            text if len(text) <= 60 else text[:59] + "…",
        )
        lines.append(_line(cells))
        lines += [f"     !! {problem}" for problem in row.problems]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
