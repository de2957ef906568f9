"""The surroundings of an attempt in a thread: tidy connections, a context of its own, and a watch over open ones."""

import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from django.core.signals import setting_changed

from autotask.exceptions import TransactionLeftOpen
from autotask.payload import Arguments
from autotask.task import ClaimedTask
from autotask.worker import hygiene, sealing
from autotask.worker.kept import Kept
from autotask.worker.sealing import Sealing
from autotask.worker.traces import Traces, enter

R = TypeVar("R")


class Surroundings(Protocol):
    """Acts before, around and after the function of a task.

    :ivar load_arguments: as :func:`autotask.worker.sealing.load_arguments`.
    :ivar dump_result: as :func:`autotask.worker.sealing.dump_result`.
    """

    load_arguments: Callable[[ClaimedTask], Arguments]
    dump_result: Callable[[ClaimedTask, Any], bytes | None]

    def tidy(self, *, unsure: bool = False) -> None:
        """Put the connections of this thread in order; see :func:`autotask.worker.hygiene.tidy_connections`."""

    def run(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in both :meth:`enclose` and :meth:`watch`."""

    def enclose(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in a context of its own: what a task sets does not reach the next one."""

    def watch(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function, and note the connections that it opens in other threads."""

    def refuse_open(self, spared: str | None = None) -> None:
        """Raise if the effect of the attempt is going to be lost.

        :param spared: the alias of a database whose transaction is not the task's own.
        :raises TransactionLeftOpen: it has left a transaction open.
        """

    def settle(self) -> None:
        """End what was used in other threads after that, by the functions that ran on commit."""


class OfWorker:
    """The surroundings in one thread of a worker. Only that thread calls them; see :func:`of_thread`.

    :ivar kept: the objects that the thread keeps from task to task.
    :ivar opened: as :meth:`autotask.worker.sealing.Sealing.opened`.
    """

    load_arguments: Callable[[ClaimedTask], Arguments]
    dump_result: Callable[[ClaimedTask, Any], bytes | None]
    opened: Callable[[ClaimedTask], bytes | None]

    def __init__(self) -> None:
        self._connections = hygiene.of_thread()
        #: Roll back transactions left open in this thread, and close connections that a request would close.
        self.tidy = self._connections.tidy
        self.kept = Kept()
        self._traces = Traces()
        self.read_settings_live()

    def read_settings_live(self) -> None:
        """Read the settings for each attempt."""
        self.load_arguments, self.dump_result = sealing.load_arguments, sealing.dump_result
        self.opened = _unopened

    def read_settings_now(self) -> None:
        """Read them now for the next attempts, until a test changes one. The caller reads them again from time to time."""
        with _settings_lock:
            now = Sealing()
            self.load_arguments, self.dump_result, self.opened = now.load_arguments, now.dump_result, now.opened
            _reading.add(self)

    def traced(self) -> Traces:
        """Return the object that notes the connections that the next attempt opens in other threads."""
        traces: Traces = Traces()
        self._traces = traces
        return traces

    def run(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in a context of its own, and watch it."""
        context, traces = self.kept.context(), self.traced()
        context.run(enter, traces)
        try:
            return context.run(function, *args)
        except BaseException:
            traces.end_in_thread()
            raise
        finally:
            self.kept.keep(context)

    def enclose(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in a context that holds only what the thread keeps for all of its tasks."""
        context = self.kept.context()
        try:
            return context.run(function, *args)
        finally:
            self.kept.keep(context)

    def watch(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function whose connections in other threads end with it."""
        enter(traces := self.traced())
        try:
            return function(*args)
        except BaseException:
            traces.end_in_thread()
            raise

    def refuse_open(self, spared: str | None = None) -> None:
        """Look at the connections of this thread, and of other threads that the attempt has used."""
        traces = self._traces
        if not self._connections.has_connected and traces.is_empty():
            return  # quickly, as for most tasks
        left_open = hygiene.left_open(spared)
        if not traces.is_empty():
            traces.end_thread()
            traces.settle()
            left_open += traces.left_open
        if left_open:
            raise left_open_error(left_open)

    def settle(self) -> None:
        """End what the attempt has used in other threads since :meth:`refuse_open` has looked."""
        self._traces.end_in_thread()


class Untouched:
    """The surroundings in a test, which has its own connections and transactions."""

    load_arguments: Callable[[ClaimedTask], Arguments] = staticmethod(sealing.load_arguments)
    dump_result: Callable[[ClaimedTask, Any], bytes | None] = staticmethod(sealing.dump_result)

    def tidy(self, *, unsure: bool = False) -> None:
        """Leave them as they are."""

    def run(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in an empty context."""
        return self.enclose(function, *args)

    def enclose(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in an empty context."""
        return contextvars.Context().run(function, *args)

    def watch(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function."""
        return function(*args)

    def refuse_open(self, spared: str | None = None) -> None:
        """Refuse nothing."""

    def settle(self) -> None:
        """End nothing."""


def _unopened(task: ClaimedTask) -> None:
    return None


def left_open_error(aliases: list[str]) -> TransactionLeftOpen:
    """Return the error for databases on which a transaction was left open."""
    return TransactionLeftOpen(databases=", ".join(repr(alias) for alias in sorted(set(aliases))))


def of_thread() -> OfWorker:
    """Return the surroundings in this thread of a worker."""
    if (here := _here.surroundings) is None:
        here = _here.surroundings = OfWorker()
    return here


def read_settings() -> None:
    """Read the settings for the next attempts in this thread, which calls this again after each pause."""
    of_thread().read_settings_now()


class _Here(threading.local):
    surroundings: OfWorker | None = None


_here = _Here()

#: So that none reads a setting before a test changes it, and uses it afterwards.
_settings_lock = threading.Lock()

#: Those that have read the settings for many attempts.
_reading: weakref.WeakSet[OfWorker] = weakref.WeakSet()


def _forget_settings(**_: Any) -> None:
    with _settings_lock:
        for each in list(_reading):
            each.read_settings_live()


setting_changed.connect(_forget_settings, dispatch_uid="autotask.surroundings")
