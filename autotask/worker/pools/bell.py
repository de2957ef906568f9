"""A bell that wakes sleeping threads, one for each ring: the one that fell asleep last, whose code and data are still in the caches."""

import threading


class Bell:
    """Wakes one sleeping thread for each ring; if none sleeps, the next one that would.

    Not a queue: before Python 3.13, a thread that takes an item from one wakes the next that waits, for nothing, and both want
    Python's lock just when the first one begins to work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: A lock for each sleeping thread, which is released to wake it.
        self._asleep: list[threading.Lock] = []
        #: Rings that no thread has heard, and those that a thread is about to hear.
        self._unheard = self._under_way = 0

    def ring(self) -> None:
        """Wake a thread."""
        with self._lock:
            if self._asleep:
                self._under_way += 1
                self._asleep.pop().release()
            else:
                self._unheard += 1

    def wait(self, seconds: float = -1) -> bool:
        """Sleep until the bell rings for this thread; return False if it has not within *seconds*."""
        with self._lock:
            if self._unheard:
                self._unheard -= 1
                return True
            own = threading.Lock()
            own.acquire()
            self._asleep.append(own)
        rung = own.acquire(timeout=seconds)
        with self._lock:
            if not rung and own in self._asleep:
                self._asleep.remove(own)
                return False
            self._under_way -= 1  # It may have rung just after the time was over.
            return True

    def is_silent(self) -> bool:
        """Whether all threads have heard what was rung."""
        return not self._unheard and not self._under_way
