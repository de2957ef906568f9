"""The queue of items that wait for a place in a pool, and the count of finished ones."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiting(Generic[T]):
    """The queue of a pool. The loop submits and takes back; the threads of the pool take items and note their ends.

    :param size: how many items run at a time.
    :param wake: called when there is room, see :meth:`wake_when`.
    """

    def __init__(self, size: int, wake: Callable[[], None]) -> None:
        self.size = size
        self._wake = wake
        self._todo: deque[T] = deque()
        self._submitted = self._finished = 0
        self._seconds = 0.0
        self._wake_at = -1
        self._idle = threading.Condition()

    def outstanding(self) -> int:
        """Return the number of submitted items that have not finished."""
        return self._submitted - self._finished

    def busy_seconds(self) -> tuple[int, float]:
        """Return the number of finished items, and their total run time in seconds."""
        return self._finished, self._seconds

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken once when an item has finished and no more than *waiting* wait; −1 asks for nothing."""
        self._wake_at = waiting

    def take_back(self) -> list[T]:
        """Return the items that wait for a place, and forget them."""
        taken: list[T] = []
        try:
            while True:
                taken.append(self._todo.popleft())
        except IndexError:
            self._submitted -= len(taken)
            return taken

    def drain(self, seconds: float) -> bool:
        """Wait until all submitted items have finished, at most *seconds*; return whether they have."""
        with self._idle:
            return self._idle.wait_for(lambda: self.outstanding() == 0, seconds)

    def _note_end(self, seconds: float) -> None:
        """Count an item as finished."""
        with self._idle:
            self._seconds += seconds
            self._finished += 1
            if self.outstanding() == 0:
                self._idle.notify_all()
        self._wake_if_asked()

    def _wake_if_asked(self) -> None:
        if len(self._todo) <= self._wake_at:
            self._wake_at = -1
            self._wake()
