"""The options of a task, as one frozen dataclass that refuses unknown ones."""

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from autotask import on_end as notices, schema
from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType
from autotask.flow import options as flow_options
from autotask.flow.debounce import Debounce
from autotask.flow.keys import Key, refuse_unfit_call
from autotask.flow.limits import Limit
from autotask.flow.options import OnConflict, UniqueFor, WhenFull
from autotask.flow.rates import Rate
from autotask.on_end import Webhook
from autotask.retry import EXPONENTIAL, Backoff
from autotask.schema import Schema
from autotask.task import BACKGROUND, COROUTINE, DEFAULT_PRIORITY, DEFAULT_QUEUE, MAX_PRIORITY, MIN_PRIORITY
from autotask.values import PLAIN_NAME, Seconds, flag, plain_name, reject_unknown, seconds, whole

MOST_RETRIES = 10_000

MOST_TAGS = 20

#: In bytes, as JSON.
MOST_METADATA = 4096

#: A NUL in JSON, which PostgreSQL cannot store.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

#: In seconds. Workers could not keep a shorter one: they look at their clocks a few times a second.
SHORTEST_TIMEOUT = 0.1


#: The arguments of a function for ``backoff``.
_AFTER_FAILURE = inspect.signature(lambda exception, attempt, /: None).bind(None, 1)


def _backoff(value: Any, where: str) -> Backoff:
    if isinstance(value, str) and value == EXPONENTIAL:
        return value
    if callable(value):
        refuse_unfit_call(
            value, _AFTER_FAILURE, "backoff", where, "a function that takes the exception and the number of the attempt"
        )
        return value  # type: ignore[no-any-return]  # its delays are checked when it is called
    if isinstance(value, (int, float, timedelta)) and not isinstance(value, bool):
        return seconds(value, "backoff", where)
    if isinstance(value, (list, tuple)) and value:
        return tuple(seconds(item, "backoff", where) for item in value)
    raise InvalidOption(
        option="backoff", where=where, expected='"exponential", seconds, a list of seconds, or a function', value=value
    )


def _exceptions(value: Any, option: str, where: str) -> tuple[type[BaseException], ...]:
    classes = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    if not all(isinstance(item, type) and issubclass(item, BaseException) for item in classes):
        raise InvalidOption(option=option, where=where, expected="an exception class or several of them", value=value)
    return classes


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a task. ``Options.of(where, retries=3, …)`` checks the values.

    :ivar queue: name of the queue.
    :ivar priority: −100 to 100, larger first.
    :ivar delay: seconds to wait at least before the first attempt.
    :ivar run_after: moment before which the first attempt does not start, instead of a delay.
    :ivar retries: number of further attempts after one that raised.
    :ivar backoff: how retries are spaced, see :data:`autotask.retry.Backoff`.
    :ivar retry_on: only these exceptions are retried; None means all.
    :ivar no_retry_on: these exceptions are never retried.
    :ivar ttl: seconds to keep the result at least; None: AUTOTASK_TTL.
    :ivar expires: no attempt begins this many seconds after the task is due, or after this moment; None: never too late.
    :ivar takes_context: the first argument of the function is an :class:`autotask.context.TaskContext`.
    :ivar atomic: function and outcome share one transaction.
    :ivar at_most_once: a run that was cut off is never repeated.
    :ivar on_missing: what happens to a task when a model instance among its arguments is gone: "error", "discard" or
        "retry".
    :ivar timeout: seconds that one attempt may take; None: AUTOTASK_TIMEOUT.
    :ivar executor: "thread", "process" or a name in AUTOTASK_EXECUTORS; None: a thread, or the event loop for a coroutine
        function.
    :ivar tags: names to find it by.
    :ivar subject: the saved model instance that the task is about.
    :ivar metadata: a dict of JSON values, to be found with the task.
    :ivar unique: at most one task with the same value of this key; None: any number.
    :ivar unique_for: until the task has "unfinished" or begun ("waiting"), or seconds after the call.
    :ivar on_conflict: what happens to a call whose key is taken: "return", "raise" or "replace".
    :ivar concurrency: how many tasks may run at a time.
    :ivar when_full: what happens to a task while they do: "wait", "drop" or "cancel_running".
    :ivar rate: how many tasks may begin in a time.
    :ivar debounce: calls within some seconds become one task.
    :ivar throttle: further calls in a time become no tasks.
    :ivar email: addresses that get the result by mail.
    :ivar on_end: webhooks to call when the task ends.
    :ivar json_schema: what the arguments of each call must fit; None: only the function.
    :ivar api: whether the task can be called and seen through the HTTP API.
    """

    queue: str = DEFAULT_QUEUE
    priority: int = DEFAULT_PRIORITY
    delay: float = 0.0
    run_after: datetime | None = None
    retries: int = 0
    backoff: Backoff | None = None
    retry_on: tuple[type[BaseException], ...] | None = None
    no_retry_on: tuple[type[BaseException], ...] = ()
    ttl: float | None = None
    expires: float | datetime | None = None
    takes_context: bool = False
    atomic: bool = False
    at_most_once: bool = False
    on_missing: str = "error"
    timeout: float | None = None
    executor: str | None = None
    tags: Sequence[str] | None = None
    subject: Any = None
    metadata: Mapping[str, Any] | None = None
    unique: Key | None = None
    unique_for: str | float = flow_options.UNFINISHED
    on_conflict: str = flow_options.RETURN
    concurrency: Limit | None = None
    when_full: str = flow_options.WAIT
    rate: Rate | None = None
    debounce: Debounce | None = None
    throttle: Rate | None = None
    email: Sequence[str] | None = None
    on_end: Sequence[Webhook] | None = None
    json_schema: Schema | None = None
    api: bool = False

    @classmethod
    def of(cls, where: str, /, **given: Any) -> "Options":
        """Return options with the given values, checked; None means the default.

        :param where: the definition or call, for messages.
        :raises UnknownOption: a name is not known.
        :raises InvalidOption: a value is out of its range.
        :raises InvalidOptionType: a value has the wrong type.
        """
        return cls().replace(where, **given)

    def replace(self, where: str, /, **given: Any) -> "Options":
        """Return a copy with the given values, checked as by :meth:`of`."""
        reject_unknown(given, OPTION_NAMES, where)
        if given.get("run_after") is not None and given.get("delay") is not None:
            raise ConflictingOptions(where=where, first="delay", second="run_after")
        checked = {name: check_value(name, value, where) for name, value in given.items() if value is not None}
        if "delay" in checked:
            checked["run_after"] = None
        if given.get("unique") is False:
            checked = flow_options.WITHOUT_UNIQUE | checked
        changed = dataclasses.replace(self, **checked)
        if changed.at_most_once and changed.retries:
            raise ConflictingOptions(where=where, first="at_most_once", second="retries")
        flow_options.refuse_conflicts(changed, where)
        return changed

    def retries_on(self, exception: BaseException) -> bool:
        """Whether the task may be retried after this exception, if retries are left."""
        if isinstance(exception, self.no_retry_on):
            return False
        return self.retry_on is None or isinstance(exception, self.retry_on)


def check_value(name: str, value: Any, where: str) -> Any:
    """Return the value of an option as it is kept, checked by itself.

    :param where: the definition or call, for messages.
    :raises AutotaskError: it is wrong.
    """
    return _CHECKS[name](value, where)


def _moment(value: Any, option: str, where: str) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOptionType(
            option=option, where=where, expected="an aware datetime", value=value, type=type(value).__name__
        )
    if value.utcoffset() is None:
        raise InvalidOption(option=option, where=where, expected="an aware datetime (with a time zone)", value=value)
    return value


def _expiry(value: Any, where: str) -> float | datetime:
    if isinstance(value, datetime):
        return _moment(value, "expires", where)
    if isinstance(value, (int, float, timedelta)) and not isinstance(value, bool):
        return seconds(value, "expires", where)
    raise InvalidOptionType(
        option="expires",
        where=where,
        expected="a number of seconds, a timedelta or an aware datetime",
        value=value,
        type=type(value).__name__,
    )


def _on_missing(value: Any, where: str) -> str:
    if not isinstance(value, str) or value not in ("error", "discard", "retry"):
        raise InvalidOption(option="on_missing", where=where, expected='"error", "discard" or "retry"', value=value)
    return str(value)


def _executor(value: Any, where: str) -> str:
    name = plain_name(value, "executor", where)
    if name in (COROUTINE, BACKGROUND):
        raise InvalidOption(
            option="executor",
            where=where,
            expected='"thread", "process" or a name in AUTOTASK_EXECUTORS (a coroutine function needs none)',
            value=value,
        )
    return name


def _tags(value: Any, where: str) -> list[str] | None:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        expected, type_ = 'a list of names, such as ["billing", "eu"]', type(value).__name__
        raise InvalidOptionType(option="tags", where=where, expected=expected, value=value, type=type_)
    if len(value) > MOST_TAGS or not all(map(PLAIN_NAME.fullmatch, value)):
        expected = f"at most {MOST_TAGS} names of 1 to 200 letters, digits and _ . : < > -"
        raise InvalidOption(option="tags", where=where, expected=expected, value=value)
    return list(dict.fromkeys(map(str, value))) or None


def _subject(value: Any, where: str) -> Any:
    # This module knows nothing of Django, and need not: a model says of itself what it is.
    if isinstance(value, type) or not hasattr(value, "_meta") or not hasattr(value, "_state"):
        expected, type_ = "a saved model instance", type(value).__name__
        raise InvalidOptionType(option="subject", where=where, expected=expected, value=value, type=type_)
    if value._state.adding or value.pk is None:
        expected = "a saved model instance (this one has no row: save it first)"
        raise InvalidOption(option="subject", where=where, expected=expected, value=f"an unsaved {value._meta.label}")
    return value


def _metadata(value: Any, where: str) -> dict[str, Any] | None:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        expected, type_ = 'a dict with text as keys, such as {"campaign": 7}', type(value).__name__
        raise InvalidOptionType(option="metadata", where=where, expected=expected, value=value, type=type_)
    try:
        written = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(written.encode())
    except (TypeError, ValueError, RecursionError) as error:
        expected = f"a dict of JSON values ({type(error).__name__}: {error})"
        raise InvalidOption(option="metadata", where=where, expected=expected, value=value) from error
    if size > MOST_METADATA:
        expected = f"at most {MOST_METADATA} bytes as JSON (these are {size}); pass more as an argument"
        raise InvalidOption(option="metadata", where=where, expected=expected, value=value)
    if _NUL.search(written):
        raise InvalidOption(option="metadata", where=where, expected="without NUL characters", value=value)
    copied: dict[str, Any] = json.loads(written)
    return copied or None


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "queue": lambda value, where: plain_name(value, "queue", where),
    "priority": lambda value, where: whole(value, "priority", where, MIN_PRIORITY, MAX_PRIORITY),
    "delay": lambda value, where: seconds(value, "delay", where),
    "run_after": lambda value, where: _moment(value, "run_after", where),
    "retries": lambda value, where: whole(value, "retries", where, 0, MOST_RETRIES),
    "backoff": _backoff,
    "retry_on": lambda value, where: _exceptions(value, "retry_on", where),
    "no_retry_on": lambda value, where: _exceptions(value, "no_retry_on", where),
    "ttl": lambda value, where: seconds(value, "ttl", where),
    "expires": _expiry,
    "takes_context": lambda value, where: flag(value, "takes_context", where),
    "atomic": lambda value, where: flag(value, "atomic", where),
    "at_most_once": lambda value, where: flag(value, "at_most_once", where),
    "on_missing": _on_missing,
    "timeout": lambda value, where: seconds(value, "timeout", where, least=SHORTEST_TIMEOUT),
    "executor": _executor,
    "tags": _tags,
    "subject": _subject,
    "metadata": _metadata,
    "json_schema": schema.checked,
    "api": lambda value, where: flag(value, "api", where),
    **flow_options.CHECKS,
    **notices.CHECKS,
}

OPTION_NAMES = tuple(_CHECKS)

#: Options that belong to one call.
ONLY_OF_CALLS = ("run_after", "subject", "metadata")

#: Options that a definition sets for all its calls.
DEFINITION_OPTION_NAMES = tuple(name for name in OPTION_NAMES if name not in ONLY_OF_CALLS)

#: Options that a task of Django may have in addition to Django's own; the others have other names or places there.
DJANGO_TASK_OPTION_NAMES = tuple(
    name for name in OPTION_NAMES if name not in ("queue", "priority", "delay", "run_after", "takes_context")
)

#: The same, and those of Django's own decorator.
DJANGO_DECORATOR_OPTION_NAMES = ("priority", "queue_name", "backend", "takes_context", *DJANGO_TASK_OPTION_NAMES)

#: Options that ``using()`` may change for one call.
CALL_OPTION_NAMES = (
    *("delay", "run_after", "queue", "priority", "retries", "ttl", "expires", "timeout", "tags"),
    *("subject", "metadata"),
    *("unique", "unique_for", "on_conflict", "debounce", "throttle", "email", "on_end"),
)

Exceptions = type[BaseException] | Collection[type[BaseException]]


class _CommonOptions(TypedDict, total=False):
    """Options that a definition, one call and a task of Django can have."""

    retries: int
    ttl: Seconds
    expires: Seconds | datetime | None
    timeout: Seconds | None
    tags: Sequence[str]
    unique: Literal[False] | Key
    unique_for: UniqueFor | Seconds
    on_conflict: OnConflict
    debounce: Literal[False] | Debounce | Seconds
    throttle: Literal[False] | Rate | str
    email: str | Sequence[str]
    on_end: Webhook | Sequence[Webhook]


class _QueueingOptions(TypedDict, total=False):
    """Options of a definition and of one call that a task of Django has under other names."""

    delay: Seconds
    queue: str
    priority: int


class _AboutOptions(TypedDict, total=False):
    """Options of one call that say what it is about."""

    subject: Any
    metadata: Mapping[str, Any]


class CallOptions(_CommonOptions, _QueueingOptions, _AboutOptions, total=False):
    """The types of ``CALL_OPTION_NAMES``."""

    run_after: datetime


class _DecoratorOptions(_CommonOptions, total=False):
    """Options that a definition and a task of Django can have."""

    backoff: Literal["exponential"] | Seconds | Sequence[Seconds] | Callable[[Any, int], Seconds] | None
    retry_on: Exceptions | None
    no_retry_on: Exceptions
    atomic: bool
    at_most_once: bool
    on_missing: Literal["error", "discard", "retry"]
    executor: str | None
    concurrency: int | str | Limit
    when_full: WhenFull
    rate: str | Rate
    json_schema: Mapping[str, Any]
    api: bool


class DjangoTaskOptions(_DecoratorOptions, _AboutOptions, total=False):
    """The types of ``DJANGO_TASK_OPTION_NAMES``."""


class DefinitionOptions(_DecoratorOptions, _QueueingOptions, total=False):
    """The types of ``DEFINITION_OPTION_NAMES``, without ``takes_context``, which changes the decorator's return type."""

    name: str | None
