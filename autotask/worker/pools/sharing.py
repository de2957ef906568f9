"""Decides how many threads of a pool share its items, and how many may sleep meanwhile."""

from collections.abc import Sequence

from autotask.worker.pools.places import COUNTS_WAITS, SAMPLE, Place

#: Seconds. Threads take turns at running Python, so a second one slows down tasks that are shorter than this: each switch
#: costs more than such a task.
SHORT = 0.0005

#: Waits of a thread for each task from which threads should wait side by side; below it, one thread runs all.
OFTEN = 0.5

#: Seconds that a task takes at most, on average, when one thread runs all, where nobody counts waits, or not yet.
ALONE = 0.0002

#: Seconds for which all threads run tasks after one thread alone was too slow, or at a longer task.
TOGETHER = 1.0

#: Seconds after which more threads are woken for short tasks if none of them has finished.
STANDSTILL = 0.005

#: Seconds after which a running task counts as a long one, whose thread is not there for others.
LONG = 0.003


class Sharing:
    """Lets one thread run very short items alone, as long as it makes progress. The loop decides; all threads obey.

    :ivar may_sleep: this many threads may sleep although items wait.
    :ivar may_leave: up to this many threads fall asleep although items wait.
    :ivar together_until: until when all threads share the items, on the monotonic clock.
    """

    __slots__ = ("_often", "_sampled", "_seen", "_stands_since", "may_leave", "may_sleep", "together_until")

    def __init__(self) -> None:
        self.may_sleep = self.may_leave = 0
        self.together_until = float("-inf")
        self._seen = (0, 0.0)
        #: When it was first seen that no item finishes. Those of a batch that came just now have had no time to.
        self._stands_since = float("inf")
        self._sampled = (0, 0)
        self._often: bool | None = None

    def all_share(self) -> None:
        """Let no thread sleep while items wait. Any thread may call this."""
        self.may_sleep = self.may_leave = 0

    def decide(self, places: Sequence[Place], finished: int, seconds: float, some_wait: bool, now: float) -> None:
        """Decide how many threads may sleep.

        :param finished: how many items have finished.
        :param seconds: their total run time.
        :param some_wait: whether items wait for a thread.
        """
        done = finished - self._seen[0]
        if done:
            self._decide_by((seconds - self._seen[1]) / done, places, now)
            self._seen = finished, seconds
        elif some_wait and now - self._stands_since >= STANDSTILL:
            self.all_share()
        self._stands_since = float("inf") if done or not some_wait else min(self._stands_since, now)

    def _decide_by(self, mean: float, places: Sequence[Place], now: float) -> None:
        # One more awake for each thread that is busy with a long task.
        long = sum(place.item is not None and place.began < now - LONG for place in places)
        spare = len(places) - 1 - long
        often = self._wait_often(places, mean)
        # A guess is good only until the waits are counted: while threads take turns, seconds tell little.
        if often and (self._often or not COUNTS_WAITS):
            self.together_until = now + TOGETHER
        self.may_sleep = max(0, spare) if mean < SHORT else 0
        self.may_leave = 0 if often or now < self.together_until else self.may_sleep

    def _wait_often(self, places: Sequence[Place], mean: float) -> bool:
        """Whether items wait for something: then one thread alone would be slower.

        The waits tell it even on a busy machine, where everything takes longer.

        :param mean: the seconds that the last items took.
        """
        sampled, waits = sum([place.sampled for place in places]), sum([place.waits for place in places])
        new = sampled - self._sampled[0]
        if COUNTS_WAITS and new >= SAMPLE:
            self._often = waits - self._sampled[1] >= OFTEN * new
        if new < 0 or new >= SAMPLE:  # One was given up, or there is news.
            self._sampled = sampled, waits
        return mean >= ALONE if self._often is None else self._often
