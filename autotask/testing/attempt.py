"""One attempt in the thread of a test, inside the open transaction of the test, if any."""

from collections.abc import Callable
from typing import Any

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted
from autotask.testing import transactions

#: The exceptions that can end a task in a worker; others, such as Ctrl-C, are meant for the test run.
_OF_TASKS = (Exception, SystemExit, TaskInterrupted)


class InPlace:
    """Calls functions for the worker's code; see :class:`autotask.worker.pools.base.Interruptible`.

    Nothing interrupts them: there are no time limits.

    :ivar error: the exception of the function, or None.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self._stop = StopRequest()

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function, and then its on_commit functions, as if each of its transactions had committed."""
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
        """Return the object that says whether the function should stop."""
        return self._stop

    def raise_what_is_not_for_tasks(self) -> None:
        """Raise the exception again that ended the function, if it is not for tasks: the end of the test run, for example."""
        if self.error is not None and not isinstance(self.error, _OF_TASKS):
            raise self.error
