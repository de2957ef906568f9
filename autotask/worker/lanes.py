"""The lanes in which the loop looks for work: their order, and their lower bounds."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import takewhile

from autotask.store.claim import BoundedLane, Lane
from autotask.task import THREAD, ClaimedTask
from autotask.worker.bounds import SLACK, Bounds, Position

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

    :ivar sure: those that gave tasks to the last claim, if it got as many as it wanted: they have more, as far as is known.
    :param serves: whether a queue should be served.
    :param executor: the name of the pool in the rows of its tasks.
    :param bounds: those that this worker shares with others; by default it shares none.
    """

    def __init__(self, serves: Callable[[str], bool], executor: str = THREAD, bounds: Bounds | None = None) -> None:
        self._serves = serves
        self._executor = executor
        self._bounds = self._shared = Bounds() if bounds is None else bounds
        #: Those of claims that leave something out, which others may take.
        self._own = Bounds()
        #: The lanes of the last claim, in its order, and of those that it was to search from before their bounds, these.
        self._asked: list[BoundedLane] = []
        self._further_back: dict[Lane, Position] = {}
        self._lanes: list[Lane] = []
        self._busy: list[Lane] = []
        self._turn = 0
        self.sure: tuple[Lane, ...] = ()

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
        busy = [lane for lane in lanes if lane.executor == self._executor and self._serves(lane.queue)]
        # A look finds those first that it was sure of. Where the order changes with each claim, in_order() would forget some.
        self._busy = sorted(busy, key=lambda lane: lane.queue)
        # All busy ones, however many: in_order() chooses among them.
        former = [lane for lane in self._lanes if self._serves(lane.queue)]
        self._lanes = list(dict.fromkeys(self._busy + former))[: max(MOST_LANES, len(self._busy))]

    def claimed(self, tasks: Iterable[ClaimedTask], *, full: bool = False) -> None:
        """Raise the lower bounds to the tasks of the last claim, given in the order of ready_at and id.

        :param full: whether its limit may have ended it before it came to its last lanes.
        """
        # By tuples, which are made in a tenth of the time of lanes: this runs for each task.
        last_of = {(task.queue, task.priority): task for task in tasks}
        lasts = {Lane(queue, priority, self._executor): task for (queue, priority), task in last_of.items()}
        if full:
            self.sure = tuple(lasts)
            for each in takewhile(lambda each: each.lane not in lasts, reversed(self._asked)):
                if each.lane in self._further_back:
                    self._bounds.again(each.lane, everything=each.since is None)
        for lane, task in lasts.items():
            last = task.ready_at, task.id
            self._bounds.reached(lane, last)
            if (bound := self._further_back.get(lane)) and last < bound:
                # Nothing but late ones: there may be more of them, and for other workers this was the search for a while.
                self._bounds.again(lane, everything=last[0] < bound[0] - SLACK)

    def failed(self) -> None:
        """Note that the last claim has failed: others must not rely on it."""
        for lane in self._further_back:
            self._bounds.again(lane, everything=True)

    def in_order(self, *, unbounded: bool = False, whole: bool = True) -> list[BoundedLane]:
        """Return the lanes for a claim, larger priorities first; queues of equal priority take turns in being first.

        :param whole: whether the claim leaves out nothing that another worker might take.
        """
        self._turn += 1
        self.sure = ()
        lanes = [lane for group in self._by_priority() for lane in _turned(group, self._turn)]
        self._bounds, now = self._shared if whole else self._own, time.monotonic()
        found = [self._bounds.begin(lane, now, unbounded=unbounded) for lane in lanes[:MOST_LANES]]
        self._further_back = {each.lane: bound for each, bound in found if bound}
        self._asked = [each for each, _ in found]
        return self._asked

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


def _turned(lanes: list[Lane], turn: int) -> list[Lane]:
    start = turn % len(lanes)
    return lanes[start:] + lanes[:start]
