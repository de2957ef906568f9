"""What a measure is: a name, the figures it makes, and how it takes them."""

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

    :ivar tasks: tasks that are drained.
    :ivar rows: rows that are in large tables.
    :ivar samples: samples of a latency, in each round.
    :ivar seconds: for which an idle companion is watched.
    :ivar growth: tasks after which memory is looked at again.
    """

    tasks: int = 20_000
    rows: int = 1_000_000
    samples: int = 100
    seconds: float = 20.0
    growth: int = 100_000

    @classmethod
    def quick(cls) -> "Scale":
        """Return a scale that is over soon, for a first impression."""
        return cls(tasks=5_000, rows=100_000, samples=40, seconds=10.0, growth=20_000)


@dataclass(frozen=True)
class Figure:
    """One number that a measure makes.

    :ivar key: its name in the JSON.
    :ivar text: what it is, for people.
    :ivar least: the target, where it is to be at least that.
    :ivar most: the target, where it is to be at most that.
    """

    key: str
    text: str
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """The target, for people."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "" if self.most is None else f"≤ {self.most:g}"

    def verdict(self, value: float) -> str:
        """Return whether a value reaches the target; "" where there is none."""
        if self.least is None and self.most is None:
            return ""
        reached = value >= self.least if self.least is not None else value <= (self.most or 0)
        return "reached" if reached else "MISSED"


@dataclass(frozen=True)
class Bench:
    """What a measure is taken with.

    :ivar log: for what workers write.
    :ivar data: where an own server keeps its data.
    """

    session: Session
    scale: Scale
    log: Path
    data: Path

    def run(self, metric: str, config: str = "default", *, peer: str = "autotask", **options: Any) -> Figures:
        """Carry out one order, by default of as much as the scale says.

        :raises RunFailed: it has failed, or has not come to its end in time.
        """
        order = Order(
            peer, config, metric, tasks=self.scale.tasks, samples=self.scale.samples, seconds=self.scale.seconds
        )
        found = self.session.run(dataclasses.replace(order, **options))
        if not found.get("complete", True):
            raise RunFailed(f"{order.label} has run {found['tasks']} tasks within {order.limit:g} s, and not all")
        return found

    def drain(self, **options: Any) -> float:
        """Return the rate of a drain, in tasks a second."""
        return float(self.run("drain", **options)["rate"])


@dataclass(frozen=True)
class Measure:
    """One word on the command line.

    :ivar take: takes the figures once and returns them by their keys. Ratios are taken here, of what was measured
        one right after the other.
    :ivar once: whether one round is enough, because it takes long and shows the same each time.
    """

    name: str
    text: str
    figures: tuple[Figure, ...]
    take: Callable[[Bench], dict[str, float]]
    once: bool = False
