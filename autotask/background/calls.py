"""Calls of a background worker's function: the arguments it takes, and what happens when it raises."""

import contextvars
import inspect
import logging
import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync

from autotask.background.control import Control
from autotask.background.options import BackgroundOptions
from autotask.exceptions import TaskInterrupted
from autotask.texts import tracebacks
from autotask.texts.lines import describe

logger = logging.getLogger("autotask.background")

#: Characters kept of a traceback.
_LONGEST = 10_000

#: Runs the function somewhere else, given its message and the id of the run, and returns its value.
RunElsewhere = Callable[[tuple[Any, ...], str], Any]

RunCoroutine = Callable[[Callable[..., Coroutine[Any, Any, Any]], tuple[Any, ...], dict[str, Any]], Any]


_inside: contextvars.ContextVar[Any] = contextvars.ContextVar("autotask_background")


def is_inside(worker: Any) -> bool:
    """Whether the caller is code that a run of this background worker has called."""
    return _inside.get(None) is worker


class Called(NamedTuple):
    """The function of a background worker.

    :ivar taken: see :func:`taken`.
    """

    function: Callable[..., Any]
    is_async: bool
    taken: frozenset[str] | None


@dataclass(slots=True)
class Tally:
    """The runs of an instance since they were last written down. Only its thread adds; see :meth:`take`.

    :ivar runs: how many runs have ended.
    :ivar errors: how many of them have raised.
    :ivar error: the last traceback.
    """

    runs: int = 0
    errors: int = 0
    error: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, error: BaseException | None) -> None:
        """Note the end of a run."""
        if error is not None:
            tracebacks.cut(error)
        shown = "" if error is None else "".join(traceback.format_exception(error))[-_LONGEST:]
        with self.lock:
            self.runs += 1
            if error is not None:
                self.errors += 1
                self.error = shown

    def take(self) -> tuple[int, int, str] | None:
        """Return the numbers of runs and errors and the last traceback, and forget them; None if there is nothing new."""
        with self.lock:
            if not self.runs:
                return None
            taken = self.runs, self.errors, self.error
            self.runs, self.errors, self.error = 0, 0, ""
            return taken

    def give_back(self, runs: int, errors: int, error: str) -> None:
        """Take back what could not be written down."""
        with self.lock:
            self.runs += runs
            self.errors += errors
            self.error = self.error or error


@dataclass(slots=True)
class Here:
    """A background worker as it runs in this process.

    :ivar options: those of its current start.
    :ivar args: the arguments of that start, passed at each run.
    :ivar given: the options that it has given, by their names with ``_``.
    :ivar name: what the function gets as ``_name``.
    :ivar run_coroutine: runs a coroutine function, and returns its value.
    :ivar run_elsewhere: runs the function in another process; None: it runs here.
    :ivar is_over: whether a run has returned False.
    :ivar failures: how many runs in a row have raised.
    """

    options: BackgroundOptions
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    control: Control = field(default_factory=Control)
    run_coroutine: RunCoroutine = lambda function, args, kwargs: async_to_sync(function)(*args, **kwargs)
    run_elsewhere: RunElsewhere | None = None
    tally: Tally = field(default_factory=Tally)
    is_over: bool = False
    failures: int = 0

    def call(self, called: Called, worker: Any, message: tuple[Any, ...], id: str) -> None:
        """Call the function once. An exception is counted and given to ``on_error``, and rises.

        :param message: what it was woken with, as its first arguments.
        :param id: of the task, or of the thread.
        """
        inside = _inside.set(worker)
        try:
            run = self.value_of if self.run_elsewhere is None else self._value_from_elsewhere
            value = worker.process_result(run(called, worker, message, id))
        except TaskInterrupted:
            raise
        except BaseException as error:
            self.failures += 1
            self.tally.note(error)
            self._report(error)
            raise
        finally:
            _inside.reset(inside)
        self.failures = 0
        self.tally.note(None)
        if value is False:
            self.is_over = True

    def value_of(self, called: Called, worker: Any, message: tuple[Any, ...], id: str) -> Any:
        """Call the function in this process, and return what it returns; see :meth:`call`."""
        offered = {"_worker": worker, "_name": self.name, "_task_id": id, "o": self.options.o, **self.given}
        args, kwargs = (*message, *self.args), keywords(called.taken, self.kwargs, offered)
        return (
            self.run_coroutine(called.function, args, kwargs) if called.is_async else called.function(*args, **kwargs)
        )

    def _value_from_elsewhere(self, called: Called, worker: Any, message: tuple[Any, ...], id: str) -> Any:
        assert self.run_elsewhere is not None
        return self.run_elsewhere(message, id)

    def _report(self, error: BaseException) -> None:
        if (on_error := self.options.on_error) is None:
            return
        try:
            on_error(error, **self.options.on_error_kwargs)
        except Exception as second:
            logger.exception("on_error of the background worker %s failed: %s", self.name, describe(second))


def taken(function: Callable[..., Any]) -> frozenset[str] | None:
    """Return the names of the arguments that a function takes by name; None: it takes all."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    return frozenset(
        name for name, each in parameters.items() if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
    )


def keywords(taken: frozenset[str] | None, given: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a call.

    :param taken: see :func:`taken`.
    :param given: passed in any case.
    :param offered: passed if the function takes them.
    """
    if taken is None:
        return {**offered, **given}
    return {**{name: value for name, value in offered.items() if name in taken}, **given}


def takes_task(function: Callable[..., Any]) -> bool:
    """Whether the first parameter of a function is called ``task``, and must be given.

    The manual of atasker shows such functions for events, which bring nothing.
    """
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and first.name == "task" and first.default is first.empty
