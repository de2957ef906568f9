"""The gates of the slots that a worker's tasks have, as that worker sees them: who runs there, who waits, and for how long."""

from collections import deque
from dataclasses import dataclass, field

from autotask.flow import LimitGate
from autotask.task import ClaimedTask

#: Seconds. Longer tasks get no followers: they are worth a statement of their own, and other workers may be free.
SHORT = 0.005

#: Seconds. If there are more slots than threads, only such tasks keep the rest: others leave it to other workers.
VERY_SHORT = 0.0005

#: The most times the usual time that a long task counts.
LONG = 10

#: Seconds of work that wait behind each slot, and the most followers there.
WORK = 0.02
MOST_EACH = 40

#: Slots in use here, of all gates. With more, only very short tasks get followers: this many each, and no more after these.
#: The slot changes hands once for all of them, which costs the database three times as much as another follower.
FEW_SLOTS = 50
DEPTH = 39


@dataclass(eq=False, slots=True)
class Times:
    """The run times of the tasks of a limit, whatever their keys are.

    :ivar seconds: how long the last tasks took; None: none has ended.
    :ivar usual: how long most of them took.
    """

    seconds: float | None = None
    usual: float = 0.0

    def measure(self, seconds: float) -> None:
        """Note how long a task took: a long one counts at once, short ones by and by.

        For what is usual, a few long ones in a row count: any task takes long whose thread has to wait for a processor.
        """
        former = self.seconds
        if former is None:
            self.seconds = self.usual = seconds
        else:
            self.seconds = max(seconds, (former + seconds) / 2)
            self.usual += (min(seconds, LONG * self.usual) - self.usual) / 8
            self.usual = min(self.usual, self.seconds)

    def are_very_short(self) -> bool:
        """Whether the tasks are so short that those with slots need not wait for long, even for one thread."""
        return self.seconds is not None and self.seconds < VERY_SHORT

    def are_usually_very_short(self) -> bool:
        """Whether most tasks are that short."""
        return self.seconds is not None and self.usual < VERY_SHORT


@dataclass(eq=False, slots=True)
class Gate:
    """A gate, as this worker knows it.

    :ivar flow: that of the last task here that had a slot of its own.
    :ivar slots: how many tasks here run in slots of their own.
    :ivar waited: whether the last look has found tasks that wait at the gate.
    :ivar started_at: when the last follower has come or has begun.
    :ivar low: the number of waiting followers at which more are claimed.
    """

    limit: LimitGate
    times: Times
    flow: str | None = None
    queues: set[str] = field(default_factory=set)
    waiting: deque[ClaimedTask] = field(default_factory=deque)
    slots: int = 0
    waited: bool = False
    started_at: float = 0.0
    low: int = -1

    def is_served_by(self, threads: int) -> bool:
        """Whether a task need not wait for a thread when it has a slot; very short ones do not wait for long."""
        return self.slots <= threads or self.times.seconds is None or self.times.are_very_short()

    def wants(self) -> int:
        """Return the number of followers still to claim; set the number at which to ask again."""
        seconds = self.times.seconds
        if not self.waited or not self.slots or seconds is None or seconds > SHORT:
            self.low = -1
            return 0
        enough = self.slots * min(MOST_EACH, int(WORK / max(seconds, 1e-6)))
        self.low = enough // 2
        return enough - len(self.waiting) if len(self.waiting) <= self.low else 0

    def wants_with_many(self) -> int:
        """Return the number of followers to claim for slots that have just come, where many are in use."""
        self.low = -1
        return 0 if self.waiting or not self.waited or not self.times.are_usually_very_short() else DEPTH * self.slots


@dataclass(eq=False, slots=True)
class Chain:
    """The tasks that run in one slot, one after the other. The slot names the first whose outcome is not in the database.

    :ivar runner: the one that runs, or waits for a thread; None: all have ended.
    :ivar holder: the fence of the one that has the slot in the database, as far as this worker knows.
    :ivar at_once: how many more may begin before the others that wait for a thread.
    :ivar is_open: whether the next one may begin when the runner ends.
    """

    gate: Gate
    runner: ClaimedTask | None
    holder: int
    at_once: int = 0
    is_open: bool = True
