"""The surroundings of an attempt in a thread: tidy connections, a context of its own, and a watch over open ones."""

import contextvars
import threading
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from django.core.signals import setting_changed

from autotask import payload
from autotask.exceptions import TransactionLeftOpen
from autotask.worker import hygiene
from autotask.worker.kept import Kept
from autotask.worker.sealing import Sealing
from autotask.worker.traces import Traces, enter

R = TypeVar("R")


class Surroundings(Protocol):
    """Acts before, around and after the function of a task.

    :ivar load_arguments: as :func:`autotask.payload.load_arguments`.
    :ivar dump_result: as :func:`autotask.payload.dump_result`.
    """

    load_arguments: Callable[..., payload.Arguments]
    dump_result: Callable[..., bytes | None]

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
        """End what was used in other threads after that, by what was to be done on commit."""


class OfWorker:
    """The surroundings in one thread of a worker. Only that thread calls them; see :func:`of_thread`."""

    def __init__(self) -> None:
        self._connections = hygiene.of_thread()
        #: Roll back transactions left open in this thread, and close connections that a request would close.
        self.tidy = self._connections.tidy
        self._kept = Kept()
        self._traces = Traces()
        self.read_settings_live()

    def read_settings_live(self) -> None:
        """Read the settings for each attempt."""
        self.load_arguments, self.dump_result = payload.load_arguments, payload.dump_result

    def read_settings_now(self) -> None:
        """Read them now for the next attempts, until a test changes one. The caller reads them again from time to time."""
        with _settings_lock:
            sealing = Sealing()
            self.load_arguments, self.dump_result = sealing.load_arguments, sealing.dump_result
            _reading.add(self)

    def run(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in a context of its own, and watch it."""
        # enclose() and watch() in one, since nearly every task passes here.
        context = self._kept.context()
        traces = self._traces = Traces()
        context.run(enter, traces)
        try:
            return context.run(function, *args)
        except BaseException:
            traces.end_in_thread()
            raise
        finally:
            self._kept.keep(context)

    def enclose(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function in a context that holds only what the thread keeps for all of its tasks."""
        context = self._kept.context()
        try:
            return context.run(function, *args)
        finally:
            self._kept.keep(context)

    def watch(self, function: Callable[..., R], *args: Any) -> R:
        """Call a function whose connections in other threads end with it."""
        traces = self._traces = Traces()
        enter(traces)
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

    load_arguments = staticmethod(payload.load_arguments)
    dump_result = staticmethod(payload.dump_result)

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
