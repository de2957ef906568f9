"""Tasks in any executor of ``concurrent.futures``: a cluster of other machines, for example.

The pool hands it no more items than there is room for, and gives up those that do not finish in time.
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
from autotask.worker.pools.messages import Ended
from autotask.worker.pools.processes import Customer, Died, NoChild
from autotask.worker.pools.waiting import Waiting

logger = logging.getLogger("autotask.worker")

T = TypeVar("T")


class SubmittedItem(Generic[T]):
    """One item handed to the executor."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.began = time.monotonic()
        self.future: Future[Any] | None = None
        self.interruption: TaskInterrupted | None = None


class ExecutorPool(Waiting[T]):
    """An executor, made when it is first needed, and again when it breaks.

    Further items wait in this process until one of those has finished.

    :param size: how many items the executor holds at a time.
    :param make: makes the executor; it may take its time.
    :param run: runs a job in the executor, which has to find it by module and name.
    :param wake: called when there is room, see :meth:`wake_when`.
    """

    #: No request reaches an item in the executor.
    patience = 0.0

    def __init__(
        self,
        size: int,
        make: Callable[[], Executor],
        run: Callable[[Any], Any],
        customer: Customer[T],
        wake: Callable[[], None],
    ) -> None:
        super().__init__(size, wake)
        self._make = make
        self._run = run
        self._customer = customer
        self._executor: Executor | None = None
        #: One for each item that is submitted, and for each that has ended; True is the last.
        self._bell: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._handed: dict[int, SubmittedItem[T]] = {}
        self.thread: threading.Thread | None = None

    def submit(self, item: T) -> None:
        """Run an item. A thread hands it over, since the executor may make callers wait.

        :raises RuntimeError: the system has no threads left.
        """
        if self.thread is None:
            thread = threading.Thread(target=self._work, name="autotask-executor", daemon=True)
            thread.start()
            self.thread = thread
        self._submitted += 1
        self._todo.append(item)
        self._bell.put(False)

    def running(self) -> list[Run[T]]:
        """Return the items that were handed over. The executor does not say whether they run or wait."""
        return [Run(handed.item, handed.began) for handed in list(self._handed.values())]

    def ask(self, item: T, why: str) -> None:
        """Do nothing."""

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Cancel an item; this has an effect if the executor can do that, or has not begun it."""
        handed = self._handed.get(id(item))
        if handed is None or handed.future is None:
            return False
        handed.interruption = interruption
        handed.future.cancel()
        return True

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item, and ignore its result."""
        handed = self._handed.get(id(item))
        return Abandoned(hangs=False) if handed is not None and self._let_go(handed) else None

    def close(self) -> None:
        """End the executor without waiting for it."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
        self._bell.put(True)

    # --- called by the thread that hands over -----------------------------------------------------------------------

    def _work(self) -> None:
        while not self._bell.get():
            while len(self._handed) < self.size:
                try:
                    item = self._todo.popleft()
                except IndexError:
                    break
                self._begin(item)

    def _begin(self, item: T) -> None:
        handed = SubmittedItem(item)
        self._handed[id(item)] = handed
        try:
            if (job := self._customer.job(item)) is None:
                self._let_go(handed)
            else:
                self._hand_over(handed, job)
        except Exception as error:  # anything that the factory or the executor of the project raises
            logger.warning("A task cannot be handed to its executor", exc_info=True)
            self._forget_executor(self._executor, error)
            if self._let_go(handed):
                self._customer.ended(item, handed.began, NoChild(f"{type(error).__name__}: {error}"))

    def _hand_over(self, handed: SubmittedItem[T], job: Any) -> None:
        if self._executor is None:
            self._executor = self._make()
        if id(handed.item) not in self._handed:
            return  # It was given up meanwhile.
        future = self._executor.submit(self._run, job)
        handed.began, handed.future = time.monotonic(), future
        future.add_done_callback(functools.partial(self._on_end, handed, self._executor))

    # --- called by the executor -------------------------------------------------------------------------------------

    def _on_end(self, handed: SubmittedItem[T], executor: Executor, future: Future[Any]) -> None:
        try:
            end: Any = Ended(future.result())
        except BaseException as error:  # noqa: B036 - an executor passes on anything that its worker threads raise
            # The executor has failed, not the task, whose errors are results here.
            self._forget_executor(executor, error)
            end = handed.interruption or Died(f"{type(error).__name__}: {error}")
        if self._let_go(handed):
            self._customer.ended(handed.item, handed.began, end)

    def _forget_executor(self, executor: Executor | None, error: BaseException) -> None:
        if isinstance(error, (BrokenExecutor, RuntimeError)) and self._executor is executor:
            self._executor = None

    def _let_go(self, handed: SubmittedItem[T]) -> bool:
        """Count an item as finished; return False if it was already."""
        if self._handed.pop(id(handed.item), None) is None:
            return False
        self._note_end(time.monotonic() - handed.began)
        if self._todo:
            self._bell.put(False)
        return True
