"""What is around each attempt in a thread: tidy connections, a context of its own, and an eye on what it leaves open."""

import contextvars
from collections.abc import Callable
from typing import Protocol, TypeVar

from autotask.exceptions import TransactionLeftOpen
from autotask.worker import tidiness
from autotask.worker.kept import Kept
from autotask.worker.traces import Traces, present

R = TypeVar("R")


class Surroundings(Protocol):
    """What is done before, around and after the function of a task."""

    def tidy(self, *, unsure: bool = False) -> None:
        """Put the connections of this thread in order; see :func:`autotask.worker.tidiness.tidy_connections`."""

    def run(self, function: Callable[[], R]) -> R:
        """Call a function with both of the following around it."""

    def enclose(self, function: Callable[[], R]) -> R:
        """Call a function in a context of its own: what a task sets does not reach the next one."""

    def watch(self, function: Callable[[], R]) -> R:
        """Call a function with an eye on what it leaves in other threads."""

    def refuse_open(self, spared: str | None = None) -> None:
        """Raise if the effect of the attempt is going to be lost.

        :param spared: the alias of a database whose transaction is not the task's own.
        :raises TransactionLeftOpen: it has left a transaction open.
        """


class OfWorker:
    """The surroundings in a worker."""

    #: Roll back what was left open in this thread, and close what a request would not find.
    tidy = staticmethod(tidiness.tidy_connections)

    def run(self, function: Callable[[], R]) -> R:
        """Call a function in a context of its own, and watch it."""
        ended: R = _kept.run(_watch, function)
        return ended

    def enclose(self, function: Callable[[], R]) -> R:
        """Call a function in a context that has only what the thread keeps for all of its tasks."""
        return _kept.run(function)

    def watch(self, function: Callable[[], R]) -> R:
        """Call a function whose connections in other threads end with it."""
        return _watch(function)

    def refuse_open(self, spared: str | None = None) -> None:
        """Look at the connections of this thread, and of those that the attempt has used beside it."""
        left_open = tidiness.left_open(spared)
        if (traces := present()) is not None and not traces.is_empty():
            traces.end_thread()
            traces.settle()
            if traces.left_open:
                left_open += traces.left_open
        if left_open:
            raise left_open_error(left_open)


class Untouched:
    """The surroundings in a test, whose connections and transactions are its own."""

    def tidy(self, *, unsure: bool = False) -> None:
        """Leave them as they are."""

    def run(self, function: Callable[[], R]) -> R:
        """Call a function in an empty context."""
        return self.enclose(function)

    def enclose(self, function: Callable[[], R]) -> R:
        """Call a function in an empty context."""
        return contextvars.Context().run(function)

    def watch(self, function: Callable[[], R]) -> R:
        """Call a function."""
        return function()

    def refuse_open(self, spared: str | None = None) -> None:
        """Refuse nothing."""


def left_open_error(aliases: list[str]) -> TransactionLeftOpen:
    """Return the error for databases on which a transaction was left open."""
    return TransactionLeftOpen(databases=", ".join(repr(alias) for alias in sorted(set(aliases))))


def _watch(function: Callable[[], R]) -> R:
    traces = Traces()
    traces.enter()
    try:
        return function()
    except BaseException:
        traces.end_thread()
        traces.settle()  # as what has come to its end has done
        raise


_kept = Kept()
OF_WORKER = OfWorker()
