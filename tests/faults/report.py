"""The report at the end of the suite: each fault with its figures, budgets and verdict, as a table and as JSON."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from tests.faults.catalogue import FAULTS

#: The property by which a result gets from the process that ran a test to the one that reports.
PROPERTY = "fault"


@dataclass(frozen=True)
class Figure:
    """One measured figure of a fault, with its budget."""

    name: str
    value: float
    unit: str
    budget: str
    kept: bool

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}{' ' if self.unit else ''}{self.unit} ({self.budget})"


class Figures:
    """The figures of one test; each is checked as soon as it is known.

    :param lenience: the factor of budgets of time; more than 1 if other tests share the machine.
    """

    def __init__(self, lenience: float = 1.0) -> None:
        self.lenience = lenience
        self.found: list[Figure] = []

    def at_most(self, name: str, value: float, budget: float, unit: str = "") -> None:
        """Record a figure that must not be larger; in seconds or milliseconds the lenience applies."""
        allowed = budget * (self.lenience if unit in ("s", "ms") else 1.0)
        self._note(name, value, unit, f"≤ {budget:g}", value <= allowed)

    def at_least(self, name: str, value: float, budget: float, unit: str = "") -> None:
        """Record a figure that must not be smaller."""
        self._note(name, value, unit, f"≥ {budget:g}", value >= budget)

    def exactly(self, name: str, value: float, budget: float) -> None:
        """Record a count."""
        self._note(name, value, "", f"= {budget:g}", value == budget)

    def record(self, name: str, value: float, unit: str = "") -> None:
        """Record a figure without a budget."""
        self._note(name, value, unit, "no budget", True)

    def _note(self, name: str, value: float, unit: str, budget: str, kept: bool) -> None:
        self.found.append(Figure(name, float(value), unit, budget, kept))
        assert kept, f"{name} is {value:g} {unit}, and should be {budget}"


@dataclass
class Entry:
    """The result of one test of a fault."""

    test: str
    verdict: str
    reason: str
    figures: list[dict[str, Any]]


class Report:
    """Collects the results of tests, in the process that reports.

    :param full: whether all faults were to be tested, or only the quick ones.
    """

    def __init__(self, seed: int, full: bool) -> None:
        self._seed = seed
        self._full = full
        self._entries: dict[int, list[Entry]] = defaultdict(list)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, numbers: Iterable[int], test: str, verdict: str, reason: str, figures: list[dict[str, Any]]) -> None:
        """Note the result of a test."""
        for number in numbers:
            self._entries[number].append(Entry(test, verdict, reason, figures))

    def lines(self) -> list[str]:
        """Return the table as lines of text."""
        lines = [f"seed {self._seed}; {'all faults' if self._full else 'the quick ones only (all: tox -e faults)'}", ""]
        for number, fault in FAULTS.items():
            verdict, reason = self._verdict(number)
            lines.append(f"{number:>3}  {verdict:<8}  {fault.title}  [{fault.holds}]{f'  {reason}' if reason else ''}")
            for entry in self._entries.get(number, ()):
                lines += [f"{'':>15}{Figure(**figure)}" for figure in entry.figures]
        return lines

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        found = []
        for number, fault in FAULTS.items():
            verdict, reason = self._verdict(number)
            tests = [asdict(entry) for entry in self._entries.get(number, ())]
            found.append(
                {
                    "number": number,
                    "title": fault.title,
                    "invariants": fault.holds.split(),
                    "verdict": verdict,
                    "reason": reason,
                    "tests": tests,
                }
            )
        document = {"seed": self._seed, "full": self._full, "machine": machine.describe({}), "faults": found}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def _verdict(self, number: int) -> tuple[str, str]:
        """Return the worst result of the tests of a fault; a test that was not run has not passed."""
        entries = self._entries.get(number, [])
        for verdict in ("fail", "not run", "pass"):
            reasons = [entry.reason for entry in entries if entry.verdict == verdict]
            if reasons:
                return verdict, "; ".join(filter(None, dict.fromkeys(reasons)))
        return "not run", FAULTS[number].absent or "not chosen"
