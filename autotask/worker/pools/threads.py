"""Tasks in threads."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Place:
    """What one thread keeps; only that thread writes to it, so no lock is needed."""

    __slots__ = ("finished", "record", "seconds")

    def __init__(self) -> None:
        self.finished = 0
        self.seconds = 0.0
        self.record: object = None


class ThreadPool(Generic[T]):
    """A fixed number of threads that run records from one queue.

    :param size: number of threads.
    :param run: what to do with a record; must not raise.
    :param wake: called from the threads when there is room, see :meth:`wake_when`.
    """

    def __init__(self, size: int, run: Callable[[T], None], wake: Callable[[], None]) -> None:
        self.size = size
        self._run = run
        self._wake = wake
        self._todo: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._submitted = 0
        self._wake_at = -1
        self._idle = threading.Condition()
        self._draining = False
        self._places = [_Place() for _ in range(size)]
        for number, place in enumerate(self._places, 1):
            # Daemons: a task that never comes back must not keep a stopped worker from ending.
            threading.Thread(target=self._work, args=(place,), name=f"autotask-{number}", daemon=True).start()

    def submit(self, record: T) -> None:
        """Run a record as soon as a thread is free. Only the loop's own thread calls this."""
        self._submitted += 1
        self._todo.put(record)

    def outstanding(self) -> int:
        """Return how many records have been submitted and not finished."""
        return self._submitted - sum(place.finished for place in self._places)

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken once when a thread is done and no more than *waiting* records wait; −1 asks for nothing."""
        self._wake_at = waiting

    def take_back(self) -> list[T]:
        """Return the records that wait for a thread, and forget them."""
        taken: list[T] = []
        try:
            while True:
                taken.append(self._todo.get_nowait())
        except queue.Empty:
            self._submitted -= len(taken)
            return taken

    def running(self) -> list[T]:
        """Return the records that are being run."""
        return [place.record for place in self._places if place.record is not None]  # type: ignore[misc]  # set by _work

    def drain(self, seconds: float) -> bool:
        """Wait until everything submitted is finished, at most so many seconds; return whether it is."""
        with self._idle:
            self._draining = True
            done = self._idle.wait_for(lambda: self.outstanding() == 0, seconds)
            self._draining = False
        return done

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many records have been finished, and the seconds they took altogether."""
        return sum(place.finished for place in self._places), sum(place.seconds for place in self._places)

    def _work(self, place: _Place) -> None:
        # Looked up once: this loop is the cost of every task.
        get, run, clock, waiting = self._todo.get, self._run, time.perf_counter, self._todo.qsize
        while True:
            record = get()
            place.record = record
            begun = clock()
            run(record)
            place.seconds += clock() - begun
            place.record = None
            place.finished += 1
            if waiting() <= self._wake_at:
                self._wake_at = -1
                self._wake()
            if self._draining:
                with self._idle:
                    self._idle.notify_all()
