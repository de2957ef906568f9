"""Measures, with their scale and figures."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.order import Order
from benchmarks.session import Figures, RunFailed, Session


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    :ivar tasks: tasks to drain.
    :ivar rows: rows of large tables.
    :ivar samples: samples of a latency in each round.
    :ivar seconds: how long an idle companion is watched.
    :ivar growth: tasks after which memory is measured again.
    """

    tasks: int = 20_000
    rows: int = 1_000_000
    samples: int = 100
    seconds: float = 20.0
    growth: int = 100_000

    @classmethod
    def quick(cls) -> "Scale":
        """Return a small scale, for a first impression."""
        return cls(tasks=5_000, rows=100_000, samples=40, seconds=10.0, growth=20_000)


@dataclass(frozen=True)
class Figure:
    """One number of a measure.

    :ivar key: its name in the JSON.
    :ivar text: its description.
    :ivar least: the target, if it is a minimum.
    :ivar most: the target, if it is a maximum.
    """

    key: str
    text: str
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """The target as text."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"

    def verdict(self, value: float) -> str:
        """Return whether a value reaches the target; "" if there is none."""
        if self.least is None and self.most is None:
            return ""
        reached = value >= self.least if self.least is not None else value <= (self.most or 0)
        return "reached" if reached else "MISSED"


@dataclass(frozen=True)
class Bench:
    """The means of a measure.

    :ivar log: the file for the output of workers.
    :ivar data: where a new server keeps its data.
    """

    session: Session
    scale: Scale
    log: Path
    data: Path

    def run(self, metric: str, config: str = "default", *, peer: str = "autotask", **options: Any) -> Figures:
        """Carry out one order, by default on the scale.

        :raises RunFailed: it failed, or did not finish in time.
        """
        order = Order(
            peer, config, metric, tasks=self.scale.tasks, samples=self.scale.samples, seconds=self.scale.seconds
        )
        found = self.session.run(dataclasses.replace(order, **options))
        if not found.get("complete", True):
            raise RunFailed(f"{order.label} has run only {found['tasks']} tasks within {order.limit:g} s")
        return found

    def drain(self, **options: Any) -> float:
        """Return the rate of a drain in tasks a second."""
        return float(self.run("drain", **options)["rate"])


@dataclass(frozen=True)
class Measure:
    """A measure, which the command line names.

    :ivar take: measures once, and returns the figures by their keys. It also takes ratios, of figures measured in
        direct succession.
    :ivar once: whether one round is enough, because it takes long and always shows the same.
    """

    name: str
    text: str
    figures: tuple[Figure, ...]
    take: Callable[[Bench], dict[str, float]]
    once: bool = False
