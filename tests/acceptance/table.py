"""What tests of servers have measured, as a table at the end of the run."""

from collections import defaultdict
from typing import Any

import pytest

#: How figures get from the process that ran a test to the one that reports.
PROPERTY = "server"

COLUMNS = {
    "serving": "processes that serve",
    "companions": "companions",
    "late": "seconds until each has one",
    "enqueued": "enqueued",
    "executed": "executed",
    "django MB": "memory of a process that serves",
    "guard MB": "… of its guard",
    "worker MB": "… of its worker, after these tasks",
    "worker": "kill -9 of the worker: seconds until the next one is ready",
    "guard": "… of the guard",
    "gone": "… of the serving process: seconds until its companion is gone",
    "master": "… of the master",
    "interrupt": "Ctrl-C: seconds until all is gone",
    "reload": "a change of the tasks: seconds until they run",
    "calm": "p99 of a request in ms, without companions",
    "loop": "… with companions in a crash loop",
}


class Table:
    """Collects what the tests of each server came to."""

    def __init__(self) -> None:
        self._figures: dict[str, dict[str, Any]] = defaultdict(dict)
        self._verdicts: dict[str, list[str]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._verdicts)

    def add(self, name: str, verdict: str, figures: dict[str, Any]) -> None:
        """Note what a test of a server came to."""
        self._figures[name].update(figures)
        self._verdicts[name].append(verdict)

    def lines(self) -> list[str]:
        """Return the table as lines of text."""
        used = [column for column in COLUMNS if any(column in figures for figures in self._figures.values())]
        rows = [["server", "version", "verdict", *used]]
        for name, figures in self._figures.items():
            cells = [_cell(figures.get(column, "")) for column in used]
            rows.append([name, str(figures.get("version", "")), self._verdict(name), *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return [*lines, "", *(f"{column}: {COLUMNS[column]}" for column in used)]

    def _verdict(self, name: str) -> str:
        """Return the worst: what was not run has not passed."""
        return next(verdict for verdict in ("failed", "not run", "passed") if verdict in self._verdicts[name])


def verdict(report: pytest.TestReport) -> str:
    """Return what a test came to."""
    return "not run" if report.skipped else report.outcome


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
