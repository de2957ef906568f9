"""The lanes in which the loop looks for work: their order, and their lower bounds."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from autotask.store.claim import BoundedLane, Lane
from autotask.task import THREAD, ClaimedTask

#: Rows that become visible up to this much later than their ready_at do not have to wait for an unbounded look.
SLACK = timedelta(seconds=5)

#: Seconds between two looks through the slack: where an old transaction keeps dead entries alive, it holds all tasks
#: claimed in the last seconds. A row that it would have found sooner is found when the lane runs dry.
SLACK_EVERY = 1.0

#: Seconds between two unbounded looks, for rows that became visible later still.
UNBOUNDED_EVERY = 10.0

#: Seconds between two looks for new lanes, while the known ones have enough and something has been enqueued; the pause is
#: also at least this many times as long as a look takes, so that looking stays cheap where old transactions make it slow.
#: LOOK_ANYWAY seconds later comes a look even without a notification: of calls in quick succession only the first one sends
#: one.
LOOK_EVERY = 0.02
LOOK_SHARE = 10
LOOK_ANYWAY = 0.05

#: The most lanes in one claim, and the most that are remembered.
MOST_LANES = 100


class Lanes:
    """The known lanes of one pool.

    A lane's lower bound is only an optimisation: it lets a claim skip the dead entries of tasks claimed before.

    :param serves: whether a queue should be served.
    :param executor: the name of the pool in the rows of its tasks.
    """

    def __init__(self, serves: Callable[[str], bool], executor: str = THREAD) -> None:
        self._serves = serves
        self._executor = executor
        self._lanes: list[Lane] = []
        self._busy: list[Lane] = []
        self._since: dict[Lane, tuple[datetime, uuid.UUID]] = {}
        self._unbounded_at = self._slack_at = float("-inf")
        self._turn = 0

    def __bool__(self) -> bool:
        return bool(self._lanes)

    @property
    def busy(self) -> bool:
        """Whether the last look found ready tasks that are served here."""
        return bool(self._busy)

    def found(self, lanes: Iterable[Lane]) -> None:
        """Replace the known lanes by those that hold ready tasks now.

        Lanes that were busy before stay on the list, last: they may soon hold work again.
        """
        self._busy = [lane for lane in lanes if lane.executor == self._executor and self._serves(lane.queue)]
        # All busy ones, however many: in_order() chooses among them.
        former = [lane for lane in self._lanes if self._serves(lane.queue)]
        self._lanes = list(dict.fromkeys(self._busy + former))[: max(MOST_LANES, len(self._busy))]
        kept = set(self._lanes)
        self._since = {lane: since for lane, since in self._since.items() if lane in kept}

    def claimed(self, tasks: Iterable[ClaimedTask]) -> None:
        """Raise the lower bounds to the claimed tasks, given in the order of ready_at and id."""
        for (queue, priority), last in {(task.queue, task.priority): task for task in tasks}.items():
            lane, since = Lane(queue, priority, self._executor), (last.ready_at, last.id)
            if lane not in self._since or since > self._since[lane]:
                self._since[lane] = since

    def in_order(self, *, unbounded: bool = False) -> list[BoundedLane]:
        """Return the lanes, larger priorities first; queues of equal priority take turns in being first."""
        now = time.monotonic()
        if unbounded or now - self._unbounded_at >= UNBOUNDED_EVERY:
            self._unbounded_at = self._slack_at = now
            unbounded = True
        slack = timedelta(0)
        if now - self._slack_at >= SLACK_EVERY:
            self._slack_at, slack = now, SLACK
        self._turn += 1
        lanes = [lane for group in self._by_priority() for lane in _turned(group, self._turn)]
        bounds = {} if unbounded else self._since
        return [_bounded(lane, bounds.get(lane), slack) for lane in lanes[:MOST_LANES]]

    def share(self, limit: int) -> int:
        """Return the share of *limit* tasks that one lane may give, so that no queue fills a batch alone while others wait."""
        widest = max(Counter(lane.priority for lane in self._busy).values(), default=1)
        return max(1, -(-limit // widest))

    def _by_priority(self) -> list[list[Lane]]:
        groups: dict[int, list[Lane]] = {}
        for lane in self._lanes:
            groups.setdefault(lane.priority, []).append(lane)
        return [groups[priority] for priority in sorted(groups, reverse=True)]


class LookTimes:
    """When to look for new lanes, and for tasks that are due.

    :ivar began: when the last look began.
    :ivar due_at: when the next scheduled task is due, by that look; infinity if there is none.
    """

    def __init__(self) -> None:
        self._next_at = self.began = float("-inf")
        self.due_at = float("inf")
        self._last_took = 0.0

    def next_at(self, *, notified: bool) -> float:
        """Return the time of the next look; *notified*: whether something has been enqueued since the last one."""
        return self._next_at + (0.0 if notified else LOOK_ANYWAY)

    def took(self, began: float, ended: float, due: float | None = None) -> None:
        """Note how long a look took, and in how many seconds after its beginning the next task is due.

        A single look may have waited for a lock, the disk or other processes, and new queues would then wait ten times as
        long. So the shorter of the last two counts.
        """
        self.began, self.due_at = began, float("inf") if due is None else began + due
        took = ended - began
        self._next_at = ended + max(LOOK_EVERY, LOOK_SHARE * min(took, self._last_took))
        self._last_took = took


def _bounded(lane: Lane, bound: tuple[datetime, uuid.UUID] | None, slack: timedelta) -> BoundedLane:
    if bound is None:
        return BoundedLane(lane, None)
    since, after = bound
    return BoundedLane(lane, since - slack) if slack else BoundedLane(lane, since, after)


def _turned(lanes: list[Lane], turn: int) -> list[Lane]:
    start = turn % len(lanes)
    return lanes[start:] + lanes[:start]
