"""What becomes of ticks that nobody has seen to in time, or that come before the run of an earlier one has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

#: What becomes of ticks that were missed because no worker ran.
Misfire = Literal["once", "skip", "all"]

#: What becomes of a tick while the task of an earlier one waits or runs.
Overlap = Literal["skip", "queue", "allow"]

MISFIRES: tuple[Misfire, ...] = ("once", "skip", "all")
OVERLAPS: tuple[Overlap, ...] = ("skip", "queue", "allow")

#: Ticks are missed when nobody has seen to them for longer than this, which is what a worker or a database may take to
#: restart. Until then each of them has its task.
IN_TIME = timedelta(seconds=10)

#: What was missed by more than this is not made up for, except where each tick is.
LATEST = timedelta(hours=1)

#: No more ticks than this are made up for, or held, the latest of them.
MOST = 100


class Choice(NamedTuple):
    """Which ticks become tasks.

    :ivar begin: those that become tasks now, in order.
    :ivar held: those that wait for an earlier run to end, in order.
    """

    begin: list[datetime]
    held: list[datetime]


@dataclass(frozen=True, slots=True)
class Policy:
    """What an author wants to happen.

    :ivar misfire: "once": ticks that were missed are made up for by one task, that of the last of them, if it is at
        most an hour late; "skip": they are left out, but for the last one if it is in time; "all": each has its task,
        but no more than a hundred.
    :ivar overlap: "skip": a tick that comes while the task of an earlier one waits or runs is left out; "queue": it
        waits for the end of it; "allow": it does not matter.
    :ivar jitter: each task is begun up to so many seconds after its tick, at random.
    """

    misfire: Misfire = "once"
    overlap: Overlap = "skip"
    jitter: float = 0.0

    def made_up(self, due: Sequence[datetime], now: datetime) -> list[datetime]:
        """Return those of the due moments, at most :data:`MOST` of them in order, that are not to be left out."""
        nothing_missed = len(due) < MOST and all(now - tick <= IN_TIME for tick in due[:1])
        if self.misfire == "all" or nothing_missed:
            return list(due)
        latest = LATEST if self.misfire == "once" else IN_TIME
        return [tick for tick in due[-1:] if now - tick <= latest]

    def choose(self, held: Sequence[datetime], ticks: Sequence[datetime], busy: bool) -> Choice:
        """Return what is to be done with ticks that are not to be left out.

        :param held: those that have waited.
        :param ticks: those that are due now.
        :param busy: whether a task of the schedule waits or runs.
        """
        line = [*held, *ticks]
        if self.overlap == "allow":
            return Choice(line, [])
        if self.overlap == "skip":
            return Choice([] if busy else line[-1:], [])
        line = line[-MOST:]
        return Choice([], line) if busy else Choice(line[:1], line[1:])
