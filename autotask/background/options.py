"""The options of background workers, as one frozen dataclass that refuses unknown and contradicting ones."""

import asyncio
import dataclasses
import enum
import inspect
import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType, OptionWithoutEffect
from autotask.flow.keys import refuse_unfit_call
from autotask.task import BACKGROUND, COROUTINE, DEFAULT_PRIORITY, DEFAULT_QUEUE, MAX_PRIORITY, MIN_PRIORITY, THREAD
from autotask.values import flag, one_of, plain_name, reject_unknown, seconds, whole

#: Seconds. A worker could not keep a shorter interval.
SHORTEST_INTERVAL = 0.01

#: Seconds between two runs of a worker that runs without a condition.
POLL_DELAY = 0.1

#: The signature with which ``on_error`` is called.
_OF_ON_ERROR = inspect.signature(lambda error, /, **more: None)

#: Values that one background worker handles at a time, at most: each takes a thread.
MOST_AT_A_TIME = 100

SITE, HOST, PROCESS = "site", "host", "process"
PER = (SITE, HOST, PROCESS)


class Kind(enum.StrEnum):
    """The cause that makes a background worker run its function."""

    CONTINUOUS = "continuous"
    ASYNC = "async"
    QUEUE = "queue"
    EVENT = "event"
    INTERVAL = "interval"


#: The kinds that run again as soon as they have finished.
ENDLESS = (Kind.CONTINUOUS, Kind.ASYNC)

#: The kinds that messages from outside make run.
MESSAGED = (Kind.QUEUE, Kind.EVENT, Kind.INTERVAL)


@dataclass(frozen=True, slots=True)
class BackgroundOptions:
    """The options of a background worker. ``BackgroundOptions.of(where, kind, interval=5, …)`` checks the values.

    :ivar kind: what makes it run.
    :ivar interval: seconds from one start to the next.
    :ivar delay: seconds from the end of a run to the next start.
    :ivar delay_before: seconds before each start.
    :ivar poll_delay: seconds between two runs of the endless kinds.
    :ivar per: where there is one: "site", "host" or "process".
    :ivar autostart: whether it starts with the site.
    :ivar queue: the workers that serve this queue may host it.
    :ivar priority: of the values that are put into its queue.
    :ivar loop: the name of the event loop that runs a coroutine function.
    :ivar executor: where the function runs: "" in the thread of the background worker, "process" in a process of its own,
        or a name in AUTOTASK_EXECUTORS.
    :ivar concurrency: how many values of a queue are handled at a time.
    :ivar o: passed to the function as it is.
    :ivar on_error: called with the exception of a run.
    :ivar on_error_kwargs: further arguments of *on_error*.
    """

    kind: Kind
    interval: float | None = None
    delay: float | None = None
    delay_before: float | None = None
    poll_delay: float = POLL_DELAY
    per: str = SITE
    autostart: bool = True
    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    loop: str = ""
    executor: str = THREAD
    concurrency: int = 1
    o: Any = None
    on_error: Callable[..., Any] | None = None
    on_error_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, where: str, kind: Kind, /, **given: Any) -> "BackgroundOptions":
        """Return options with the given values, checked; None means the default.

        :param where: the definition, for messages.
        :raises UnknownOption: a name is not known.
        :raises InvalidOption: a value is out of its range, or not possible for this kind.
        :raises InvalidOptionType: a value has the wrong type.
        :raises ConflictingOptions: *interval* is given together with *delay*.
        :raises OptionWithoutEffect: an option is for another kind.
        """
        reject_unknown(given, OPTION_NAMES, where)
        options = dataclasses.replace(cls(kind), **_checked(given, where, ""))
        options._refuse_for_kind(given, where, "")
        options._refuse_loop_elsewhere(where)
        options._refuse_unfit_on_error(where)
        return options

    def started(self, where: str, /, **given: Any) -> "BackgroundOptions":
        """Return a copy with the values that one start has given, by the names of the options without ``_``.

        The exceptions are those of :meth:`of`.
        """
        reject_unknown(
            [f"_{name}" for name in given], [f"_{name}" for name in START_OPTION_NAMES], f"start() of {where}"
        )
        where = f"start() of {where}"
        checked = _checked(given, where, "_")
        self._refuse_for_kind(given, where, "_")
        # One of these replaces the other.
        if "interval" in checked:
            checked.setdefault("delay", None)
        elif "delay" in checked:
            checked.setdefault("interval", None)
        options = dataclasses.replace(self, **checked)
        options._refuse_loop_elsewhere(where)
        options._refuse_unfit_on_error(where)
        return options

    def _refuse_loop_elsewhere(self, where: str) -> None:
        if self.loop and self.executor != THREAD:
            raise ConflictingOptions(where=where, first="loop", second="executor")

    def _refuse_unfit_on_error(self, where: str) -> None:
        if self.on_error is not None:
            arguments = _OF_ON_ERROR.bind(None, **self.on_error_kwargs)
            names = "".join(f", and {name!r} of on_error_kwargs" for name in self.on_error_kwargs)
            refuse_unfit_call(
                self.on_error, arguments, "on_error", where, f"a function that takes the exception{names}"
            )

    def _refuse_for_kind(self, given: Mapping[str, Any], where: str, sign: str) -> None:
        if self.kind is not Kind.INTERVAL:
            for name in _OF_INTERVAL:
                if given.get(name) is not None:
                    needed = "BackgroundIntervalWorker"
                    raise OptionWithoutEffect(where=where, option=f"{sign}{name}", needed=needed)
        if self.kind is not Kind.QUEUE and given.get("concurrency") is not None:
            raise OptionWithoutEffect(where=where, option=f"{sign}concurrency", needed="BackgroundQueueWorker")


def _checked(given: Mapping[str, Any], where: str, sign: str) -> dict[str, Any]:
    checked = {
        name: _CHECKS[name](value, f"{sign}{name}", where)
        for name, value in given.items()
        if value is not None and name in _CHECKS
    }
    if "interval" in checked and "delay" in checked:
        raise ConflictingOptions(where=where, first=f"{sign}interval", second=f"{sign}delay")
    return checked


def kind_of(given: Mapping[str, Any], is_async: bool, where: str) -> Kind:
    """Return the kind that the options of a decorator ask for.

    :param given: they may have ``q`` and ``queue``, ``e`` and ``event``.
    :raises ConflictingOptions: they ask for several.
    """
    asked: dict[Kind, str] = {}
    for name, value in given.items():
        if (kind := _asks_for(name, value)) is not None and kind not in asked:
            asked[kind] = name
    if len(asked) > 1:
        first, second, *_ = asked.values()
        raise ConflictingOptions(where=where, first=first, second=second)
    return next(iter(asked), Kind.ASYNC if is_async else Kind.CONTINUOUS)


def _asks_for(name: str, value: Any) -> Kind | None:
    if value is None or value is False:
        return None
    if name == "q" or (name == "queue" and not isinstance(value, str)):
        return Kind.QUEUE
    if name in ("e", "event"):
        return Kind.EVENT
    return Kind.INTERVAL if name in _OF_INTERVAL else None


def refuse_queue_class(value: Any, option: str, where: str) -> None:
    """Refuse anything but True, False and the classes of plain queues for the option that makes a queue worker.

    :raises InvalidOption: it is another class of queues, or an instance; the message says what to do instead.
    """
    if isinstance(value, bool) or value in (asyncio.Queue, queue.Queue):
        return
    name = getattr(value, "__name__", type(value).__name__)
    if "Priority" in name:
        advice = "True: values wait in the database; give put() a priority= to order them"
    elif "Lifo" in name:
        advice = "True: values wait in the database, and are handled in the order in which they were put"
    else:
        advice = "True or False: values wait in the database, in the order in which they were put"
    raise InvalidOption(option=option, where=where, expected=advice, value=value)


# --- the checks -------------------------------------------------------------------------------------------------------


def _queue(value: Any, option: str, where: str) -> str:
    if not isinstance(value, str):
        refuse_queue_class(value, option, where)
        expected = "the name of a queue, whose workers may host it"
        raise InvalidOption(option=option, where=where, expected=expected, value=value)
    return plain_name(value, option, where)


def _per(value: Any, option: str, where: str) -> str:
    one_of(value, option, where, PER)
    return str(value)


def _callable(value: Any, option: str, where: str) -> Callable[..., Any]:
    if not callable(value):
        raise InvalidOptionType(
            option=option, where=where, expected="a function", value=value, type=type(value).__name__
        )
    return value  # type: ignore[no-any-return]  # its signature is its own


def _keywords(value: Any, option: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        expected = "a dict of keyword arguments"
        raise InvalidOptionType(option=option, where=where, expected=expected, value=value, type=type(value).__name__)
    return dict(value)


def _executor(value: Any, option: str, where: str) -> str:
    name = plain_name(value, option, where)
    if name in (COROUTINE, BACKGROUND):
        expected = '"thread", "process" or a name in AUTOTASK_EXECUTORS (a coroutine function needs none)'
        raise InvalidOption(option=option, where=where, expected=expected, value=value)
    return THREAD if name == "thread" else name


def _loop(value: Any, option: str, where: str) -> str:
    if not isinstance(value, str):
        expected = "the name of an event loop, which all background workers with this name share"
        raise InvalidOptionType(option=option, where=where, expected=expected, value=value, type=type(value).__name__)
    return plain_name(value, option, where)


_CHECKS: dict[str, Callable[[Any, str, str], Any]] = {
    "interval": lambda value, option, where: seconds(value, option, where, least=SHORTEST_INTERVAL),
    "delay": lambda value, option, where: seconds(value, option, where, least=SHORTEST_INTERVAL),
    "delay_before": lambda value, option, where: seconds(value, option, where, least=SHORTEST_INTERVAL),
    "poll_delay": lambda value, option, where: seconds(value, option, where),
    "per": _per,
    "autostart": flag,
    "queue": _queue,
    "priority": lambda value, option, where: whole(value, option, where, MIN_PRIORITY, MAX_PRIORITY),
    "loop": _loop,
    "executor": _executor,
    "concurrency": lambda value, option, where: whole(value, option, where, 1, MOST_AT_A_TIME),
    "o": lambda value, option, where: value,
    "on_error": _callable,
    "on_error_kwargs": _keywords,
}

_OF_INTERVAL = ("interval", "delay", "delay_before")

#: Parameters of atasker that have no effect here: there is no supervisor but the worker, and no thread keeps it alive.
_ACCEPTED = ("daemon", "supervisor")

OPTION_NAMES = (*_CHECKS, *_ACCEPTED)

#: Options that one start may change.
START_OPTION_NAMES = tuple(name for name in OPTION_NAMES if name not in ("per", "autostart", "queue"))
