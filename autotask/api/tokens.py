"""Rates in the memory of this process: how often something may happen, by a key, for a bounded number of keys."""

import collections
import os
import threading
import time

#: Keys that one limiter remembers; the one unused for longest is forgotten, which gives it a full bucket.
MOST_KEYS = 10_000


class Limiter:
    """Buckets of tokens, one for each key, that fill again in a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._full_at: collections.OrderedDict[str, float] = collections.OrderedDict()

    def wait(self, key: str, most: int) -> float:
        """Return the seconds until the key has a token again; 0 if it has one now.

        :param most: the tokens of a full bucket, which take a minute to come.
        """
        with self._lock:
            return self._wait(self._full_at.get(key, 0.0), most, time.monotonic())

    def take(self, key: str, most: int) -> float:
        """Take a token, and return 0; or return the seconds until there is one."""
        with self._lock:
            now = time.monotonic()
            full_at = self._full_at.get(key, 0.0)
            if wait := self._wait(full_at, most, now):
                return wait
            self._full_at[key] = max(full_at, now) + 60 / most
            self._full_at.move_to_end(key)
            while len(self._full_at) > MOST_KEYS:
                self._full_at.popitem(last=False)
            return 0.0

    def clear(self) -> None:
        """Forget all keys."""
        with self._lock:
            self._full_at.clear()

    @staticmethod
    def _wait(full_at: float, most: int, now: float) -> float:
        # One token takes 60 / most seconds to come, so the bucket is empty when it is full 60 seconds from now.
        return max(0.0, full_at + 60 / most - now - 60)


#: Wrong keys by address, and requests by caller.
wrong_keys = Limiter()
requests = Limiter()


def _renew_in_fork() -> None:
    # Another thread may have held a lock.
    global wrong_keys, requests
    wrong_keys, requests = Limiter(), Limiter()


os.register_at_fork(after_in_child=_renew_in_fork)
