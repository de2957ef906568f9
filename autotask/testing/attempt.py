"""One attempt in the thread of a test, inside whatever transaction that has open."""

from collections.abc import Callable
from typing import Any

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted
from autotask.testing import transactions

#: What a task can end with in a worker; anything else is meant for who runs the test, as Ctrl-C is.
_OF_TASKS = (Exception, SystemExit, TaskInterrupted)


class InPlace:
    """What the worker's code calls a function by; see :class:`autotask.worker.pools.base.Interruptible`.

    Nothing interrupts it: time limits do not hold.

    :ivar error: what the function has raised, or None.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._stop = StopRequest()

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function; what it wants to be done on commit is done as if each of its transactions had committed."""
        since = transactions.marks()
        try:
            try:
                with transactions.sheltered():
                    return function(*args)
            finally:
                with transactions.sheltered():
                    transactions.run_on_commit(since)
        except BaseException as error:
            self.error = error
            raise

    def stop_request(self) -> StopRequest:
        """Return what tells the function that it should stop."""
        return self._stop

    def raise_what_is_not_for_tasks(self) -> None:
        """Raise again what has ended the function, if no task can end so: the end of the test run, for example."""
        if self.error is not None and not isinstance(self.error, _OF_TASKS):
            raise self.error
