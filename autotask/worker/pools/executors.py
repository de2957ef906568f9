"""Tasks in any executor of ``concurrent.futures``: a cluster of other machines, for example.

What happens inside it is its own business. It is handed no more records than there is room for, and what it does not
give back in time is given up.
"""

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Generic, TypeVar

from autotask.exceptions import TaskInterrupted
from autotask.worker.pools.base import Abandoned, Run
from autotask.worker.pools.processes import Customer, Died, Ended, NoChild

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")


class Handed(Generic[T]):
    """One record that was handed to the executor."""

    def __init__(self, record: T) -> None:
        self.record = record
        self.began = time.monotonic()
        self.future: Future[Any] | None = None
        self.interruption: TaskInterrupted | None = None


class ExecutorPool(Generic[T]):
    """An executor, made when it is first needed, and anew when it breaks.

    :param size: how many records it is handed at a time.
    :param make: makes the executor; it may take its time.
    :param run: what the executor is to do with a job; it has to be found by its module and name.
    :param wake: called when there is room, see :meth:`wake_when`.
    """

    #: There is no way to tell a record in the executor anything.
    patience = 0.0

    def __init__(
        self,
        size: int,
        make: Callable[[], Executor],
        run: Callable[[Any], Any],
        customer: Customer[T],
        wake: Callable[[], None],
    ) -> None:
        self.size = size
        self._make = make
        self._run = run
        self._customer = customer
        self._wake = wake
        self._executor: Executor | None = None
        self._todo: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._handed: dict[int, Handed[T]] = {}
        self._idle = threading.Condition()
        self._outstanding = self._finished = 0
        self._seconds = 0.0
        self._wake_at = -1
        self._thread: threading.Thread | None = None

    def submit(self, record: T) -> None:
        """Run a record. It is handed over by a thread of its own, since the executor may make callers wait.

        :raises RuntimeError: the system has no thread left for that.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="autotask-executor", daemon=True)
            thread.start()
            self._thread = thread
        with self._idle:
            self._outstanding += 1
        self._todo.put(record)

    def outstanding(self) -> int:
        """Return how many records have been submitted and not finished."""
        return self._outstanding

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken once when a record is finished and no more than *waiting* wait to be handed over."""
        self._wake_at = waiting

    def take_back(self) -> list[T]:
        """Return the records that were not handed over, and forget them."""
        taken: list[T] = []
        try:
            while True:
                taken.append(self._todo.get_nowait())
        except queue.Empty:
            with self._idle:
                self._outstanding -= len(taken)
            return taken

    def running(self) -> list[Run[T]]:
        """Return the records that were handed over. Whether they run or wait, the executor does not tell."""
        return [Run(handed.record, handed.began) for handed in list(self._handed.values())]

    def ask(self, record: T, why: str) -> None:
        """Do nothing; nothing reaches a record in the executor."""

    def interrupt(self, record: T, interruption: TaskInterrupted) -> bool:
        """Cancel a record, which has an effect where the executor can do that, or has not begun with it."""
        handed = self._handed.get(id(record))
        if handed is None or handed.future is None:
            return False
        handed.interruption = interruption
        handed.future.cancel()
        return True

    def abandon(self, record: T) -> Abandoned | None:
        """Forget a record; whatever still comes of it is not heard."""
        handed = self._handed.get(id(record))
        return Abandoned(hangs=False) if handed is not None and self._let_go(handed) else None

    def drain(self, seconds: float) -> bool:
        """Wait until everything submitted is finished, at most so many seconds; return whether it is."""
        with self._idle:
            return self._idle.wait_for(lambda: self._outstanding == 0, seconds)

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many records have been finished, and the seconds they took altogether."""
        return self._finished, self._seconds

    def close(self) -> None:
        """End the executor without waiting for it."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)

    # --- what the thread that hands over does -----------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            record = self._todo.get()
            handed = Handed(record)
            self._handed[id(record)] = handed
            try:
                if (job := self._customer.job(record)) is None:
                    self._let_go(handed)
                else:
                    self._hand_over(handed, job)
            except Exception as error:  # whatever the factory or the executor of the project raises
                logger.warning("A task cannot be handed to its executor", exc_info=True)
                self._forget_executor(self._executor, error)
                if self._let_go(handed):
                    self._customer.ended(record, handed.began, NoChild(f"{type(error).__name__}: {error}"))

    def _hand_over(self, handed: Handed[T], job: Any) -> None:
        if self._executor is None:
            self._executor = self._make()
        if id(handed.record) not in self._handed:
            return  # It was given up meanwhile.
        future = self._executor.submit(self._run, job)
        handed.began, handed.future = time.monotonic(), future
        future.add_done_callback(functools.partial(self._on_end, handed, self._executor))

    # --- what the executor calls ------------------------------------------------------------------------------------

    def _on_end(self, handed: Handed[T], executor: Executor, future: Future[Any]) -> None:
        try:
            end: Any = Ended(future.result())
        except BaseException as error:  # noqa: B036 - what a worker thread of an executor raises, it hands on, be it SystemExit
            # Not the task, whose errors are results here: the executor.
            self._forget_executor(executor, error)
            end = handed.interruption or Died(f"{type(error).__name__}: {error}")
        if self._let_go(handed):
            self._customer.ended(handed.record, handed.began, end)

    def _forget_executor(self, executor: Executor | None, error: BaseException) -> None:
        if isinstance(error, (BrokenExecutor, RuntimeError)) and self._executor is executor:
            self._executor = None

    def _let_go(self, handed: Handed[T]) -> bool:
        """Count a record as finished; return whether it was not before."""
        with self._idle:
            if self._handed.pop(id(handed.record), None) is None:
                return False
            self._outstanding -= 1
            self._finished += 1
            self._seconds += time.monotonic() - handed.began
            if self._outstanding == 0:
                self._idle.notify_all()
        if self._todo.qsize() <= self._wake_at:
            self._wake_at = -1
            self._wake()
        return True
