"""Decides the number of tasks to hold beyond those that run in threads."""

from collections.abc import Callable

#: Tasks claimed beyond the free places should start within this many seconds: in threads, and in an executor, which takes
#: longer for a task anyway.
PREFETCH = 0.05
PREFETCH_FOR_EXECUTORS = 0.25

#: The most tasks held beyond the free places: half of them keep the pool busy while the next claim is under way, which takes
#: 5 to 15 ms for the largest one, while its thread and the others take turns.
MOST_PREFETCHED = 1600

#: The longest sleep while there is no room, in seconds. If tasks wait for a place for as long, those that wait are released.
BUSY_SLEEP = 1.0


class Prefetch:
    """The times that the last tasks took, and that some have waited. Only the loop calls this.

    :param threads: how many tasks run at a time.
    :param most_ahead: returns how many more may wait, or None for any number. It is called with the number of tasks that
        have finished since its last call, and goes by the bytes of their results.
    :param within: seconds within which tasks that wait should start.
    """

    def __init__(self, threads: int, most_ahead: Callable[[int], int | None], within: float = PREFETCH) -> None:
        self._threads = threads
        self._within = within
        self._most_ahead = most_ahead
        self._measured = (0, 0.0)
        self._task_seconds: float | None = None
        #: A moment, how many tasks had finished by then, and how many have when those that waited then have begun.
        self._mark = (0.0, 0, 0)

    def size(self, finished: int, seconds: float) -> int:
        """Return the number of tasks to hold ahead.

        :param finished: how many tasks have finished so far.
        :param seconds: their total run time.
        """
        new = finished - self._measured[0]
        if new:
            mean = (seconds - self._measured[1]) / new
            former = self._task_seconds
            self._task_seconds = mean if former is None else max(mean, (former + mean) / 2)
            self._measured = finished, seconds
        if self._task_seconds is None:
            return 0
        ahead = min(MOST_PREFETCHED, int(self._threads * self._within / max(self._task_seconds, 1e-6)))
        most = self._most_ahead(new)
        return ahead if most is None else max(0, min(ahead, most))

    def is_stuck(self, now: float, finished: int, outstanding: int) -> bool:
        """Whether tasks wait behind unexpectedly long ones; then fewer are held ahead from now on.

        It is not enough that some finish: hundreds that were taken for short ones could wait for minutes.
        """
        began, then, enough = self._mark
        enough = min(enough, finished + outstanding - self._threads)  # Some may have been released.
        if not then <= finished < enough:  # Fewer have finished if a thread was given up.
            self._mark = now, finished, finished + outstanding - self._threads
            return False
        self._mark = began, then, enough
        if now - began < BUSY_SLEEP:
            return False
        self._task_seconds = (now - began) * self._threads / max(1, finished - then)
        self._mark = now, finished, finished
        return True
