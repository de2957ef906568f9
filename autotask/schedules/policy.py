"""The policy for ticks that no worker handled in time, or that come before the run of an earlier one has ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

#: The policies for ticks that were missed because no worker ran.
Misfire = Literal["once", "skip", "all"]

#: The policies for a tick while the task of an earlier one waits or runs.
Overlap = Literal["skip", "queue", "allow"]

MISFIRES: tuple[Misfire, ...] = ("once", "skip", "all")
OVERLAPS: tuple[Overlap, ...] = ("skip", "queue", "allow")

#: Ticks are missed when no worker handles them for longer than this, the time that a worker or a database may take to
#: restart. Until then each of them gets its task.
IN_TIME = timedelta(seconds=10)

#: Ticks missed by more than this are not made up for, except with misfire="all".
LATEST = timedelta(hours=1)

#: At most this many ticks are made up for, or held: the latest ones.
MOST = 100


class Choice(NamedTuple):
    """The decision which ticks become tasks.

    :ivar begin: ticks that become tasks now, in order.
    :ivar held: ticks that wait for an earlier run to end, in order.
    """

    begin: list[datetime]
    held: list[datetime]


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a schedule for missed and overlapping ticks.

    :ivar misfire: "once": one task makes up for all missed ticks, that of the last one, if it is at most an hour late;
        "skip": they are left out, except for the last one if it is in time; "all": each gets its task, up to a hundred.
    :ivar overlap: "skip": a tick that comes while the task of an earlier one waits or runs is left out; "queue": it
        waits until that has ended; "allow": it gets its task at once.
    :ivar jitter: each task starts up to this many seconds after its tick, at random.
    """

    misfire: Misfire = "once"
    overlap: Overlap = "skip"
    jitter: float = 0.0

    def made_up(self, due: Sequence[datetime], now: datetime) -> list[datetime]:
        """Return the due moments that get a task; *due* has at most :data:`MOST`, in order."""
        nothing_missed = len(due) < MOST and all(now - tick <= IN_TIME for tick in due[:1])
        if self.misfire == "all" or nothing_missed:
            return list(due)
        latest = LATEST if self.misfire == "once" else IN_TIME
        return [tick for tick in due[-1:] if now - tick <= latest]

    def choose(self, held: Sequence[datetime], ticks: Sequence[datetime], busy: bool) -> Choice:
        """Decide about ticks that get a task: those *held*, and the *ticks* due now.

        :param busy: whether a task of the schedule waits or runs.
        """
        line = [*held, *ticks]
        if self.overlap == "allow":
            return Choice(line, [])
        if self.overlap == "skip":
            return Choice([] if busy else line[-1:], [])
        line = line[-MOST:]
        return Choice([], line) if busy else Choice(line[:1], line[1:])
