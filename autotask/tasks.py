"""What you write tasks with: delayed_task, periodic_task, cron_task, and what a task may raise."""

import dataclasses
import inspect
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta, tzinfo
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from django.conf import settings as django_settings

from autotask import registry
from autotask.context import TaskContext, current
from autotask.control import Cancel, Discard, Retry, Snooze
from autotask.definition import Definition, DelayedTask
from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType, UnknownOption
from autotask.functions import refuse_unsuitable
from autotask.options import (
    DEFINITION_OPTION_NAMES,
    DJANGO_TASK_OPTION_NAMES,
    Options,
    one_of,
    plain_name,
    reject_unknown,
    seconds as checked_seconds,
)
from autotask.scheduled import ScheduledTask
from autotask.schedules import crontab as crontabs
from autotask.schedules.base import Timetable
from autotask.schedules.crontab import Numbers
from autotask.schedules.every import Every
from autotask.schedules.policy import MISFIRES, OVERLAPS, Misfire, Overlap, Policy
from autotask.task import DEFAULT_PRIORITY, DEFAULT_QUEUE

__all__ = [
    "Cancel",
    "Discard",
    "Retry",
    "Snooze",
    "TaskContext",
    "cron_task",
    "current",
    "delayed_task",
    "periodic_task",
    "task",
]

_SCHEDULE_OPTION_NAMES = ("name", "misfire", "overlap", "jitter")
_PERIODIC_OPTION_NAMES = ("seconds", "start_now", *_SCHEDULE_OPTION_NAMES)
_CRON_OPTION_NAMES = ("minutes", "hours", "dow", "months", "dom", "crontab", "cron", "tz", *_SCHEDULE_OPTION_NAMES)

P = ParamSpec("P")
R = TypeVar("R")


class _MakesDelayed(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> DelayedTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> DelayedTask[P, R]: ...


class _MakesDelayedWithContext(Protocol):
    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]]
    ) -> DelayedTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R]) -> DelayedTask[P, R]: ...


class _MakesScheduled(Protocol):
    def __call__(self, function: Callable[P, R]) -> ScheduledTask[P, R]: ...


class _MakesScheduledWithContext(Protocol):
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R]) -> ScheduledTask[P, R]: ...


@overload
def delayed_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> DelayedTask[P, R]: ...
@overload
def delayed_task(function: Callable[P, R], /) -> DelayedTask[P, R]: ...
@overload
def delayed_task(
    *,
    takes_context: Literal[True],
    delay: float | timedelta = 0,
    retries: int = 0,
    ttl: float | timedelta = 300,
    name: str | None = None,
    **options: Any,
) -> _MakesDelayedWithContext: ...
@overload
def delayed_task(
    *,
    delay: float | timedelta = 0,
    retries: int = 0,
    ttl: float | timedelta = 300,
    name: str | None = None,
    **options: Any,
) -> _MakesDelayed: ...
def delayed_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    delay: float | timedelta = 0,
    retries: int = 0,
    ttl: float | timedelta = 300,
    name: str | None = None,
    **options: Any,
) -> Any:
    """Make a function run later, in a worker: a call stores it and returns a handle at once.

    ::

        @delayed_task(retries=3)
        def send_report(user_id): ...

        handle = send_report(42)

    :param delay: seconds (or timedelta) to wait at least before the function is run.
    :param retries: how often it is tried again after an exception.
    :param ttl: seconds (or timedelta) for which the result is kept at least.
    :param name: the name of the task, by default ``module.function``. Give one if the function may move: tasks that
        wait carry it.
    :param options: ``queue`` (name), ``priority`` (−100 to 100, larger first), ``backoff`` ("exponential", seconds, a
        list of seconds, or ``f(exception, attempt)`` that returns seconds), ``retry_on`` and ``no_retry_on`` (exception
        classes), ``expires`` (seconds after it is due, timedelta or aware datetime, from which on it is not begun any
        more), ``takes_context`` (the function gets a :class:`~autotask.context.TaskContext` as its first argument),
        ``atomic`` (it runs in a transaction that its outcome joins), ``at_most_once`` (a run that was cut off is not
        followed by a second one), ``on_missing`` ("error", "discard" or "retry": what becomes of the task when an instance
        of a model among its arguments is not in the database any more), ``timeout`` (seconds or timedelta that one
        attempt may take; by default ``AUTOTASK_TIMEOUT``), ``executor`` ("thread", "process" or a name in
        ``AUTOTASK_EXECUTORS``; by default a thread, or an event loop for a coroutine function).
    :raises UnknownOption: an option is not known. (A TypeError.)
    :raises InvalidOption: a value is out of its range. (A ValueError.)
    :raises InvalidOptionType: a value has the wrong type. (A TypeError.)
    """

    def decorate(function: Callable[..., Any]) -> DelayedTask[..., Any]:
        where = f"@delayed_task of {_described(function)}"
        checked = _options(where, ("name",), delay=delay, retries=retries, ttl=ttl, **options)
        called = _callable(function, where)
        refuse_unsuitable(called, checked, where)
        return registry.register(DelayedTask(called, _name(function, name, where), checked))

    return decorate if function is None else decorate(function)


@overload
def periodic_task(
    seconds: float | timedelta = 3600,
    start_now: bool = False,
    *,
    takes_context: Literal[True],
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> _MakesScheduledWithContext: ...
@overload
def periodic_task(
    seconds: float | timedelta = 3600,
    start_now: bool = False,
    *,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> _MakesScheduled: ...
def periodic_task(
    seconds: float | timedelta = 3600,
    start_now: bool = False,
    *,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> Any:
    """Make a function run again and again, at a fixed interval.

    The function takes no arguments, and has to be in a module that is imported when Django starts (``tasks.py`` of an
    app is). Each tick makes one task, however many processes there are. Called by hand, the function runs at once, in
    place.

    :param seconds: the interval, in seconds or as a timedelta. It is anchored: restarts and long runs do not shift it.
    :param start_now: True: the first run is as soon as a worker has registered the schedule; False: one interval later.
    :param name: the name of the schedule and its task, by default ``module.function``. A function may have several
        decorators, if each has a name of its own.
    :param misfire: what becomes of ticks that were missed, because no worker ran for more than ten seconds. "once": they
        are made up for by one task, if the last of them is at most an hour late; "skip": they are left out; "all": each
        has its task, up to a hundred.
    :param overlap: what becomes of a tick while the task of an earlier one waits or runs. "skip", the default: it is left
        out; "queue", the default with ``misfire="all"``: it waits; "allow": it does not matter.
    :param jitter: seconds (or timedelta) up to which each task is delayed at random, so that not all begin at once.
    :param options: as for :func:`delayed_task`. They apply to the task of each tick.
    :raises InvalidOption: the interval is less than a tenth of a second, or another value is out of its range.
    """
    _refuse_function(seconds, "seconds", "@periodic_task")

    def decorate(function: Callable[..., Any]) -> ScheduledTask[..., Any]:
        where = f"@periodic_task of {_described(function)}"
        if not isinstance(start_now, bool):
            raise InvalidOptionType(
                option="start_now",
                where=where,
                expected="True or False",
                value=start_now,
                type=type(start_now).__name__,
            )
        every = Every(checked_seconds(seconds, "seconds", where, least=0.1), start_now)
        checked = _options(where, _PERIODIC_OPTION_NAMES, **options)
        return _scheduled(function, name, where, checked, every, _policy(misfire, overlap, jitter, where))

    return decorate


@overload
def cron_task(
    minutes: Numbers = None,
    hours: Numbers = None,
    dow: Numbers = None,
    months: Numbers = None,
    dom: Numbers = None,
    crontab: str | None = None,
    *,
    takes_context: Literal[True],
    cron: str | None = None,
    tz: str | tzinfo | None = None,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> _MakesScheduledWithContext: ...
@overload
def cron_task(
    minutes: Numbers = None,
    hours: Numbers = None,
    dow: Numbers = None,
    months: Numbers = None,
    dom: Numbers = None,
    crontab: str | None = None,
    *,
    cron: str | None = None,
    tz: str | tzinfo | None = None,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> _MakesScheduled: ...
def cron_task(
    minutes: Numbers = None,
    hours: Numbers = None,
    dow: Numbers = None,
    months: Numbers = None,
    dom: Numbers = None,
    crontab: str | None = None,
    *,
    cron: str | None = None,
    tz: str | tzinfo | None = None,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: float | timedelta = 0,
    **options: Any,
) -> Any:
    """Make a function run by the calendar. The same rules as for :func:`periodic_task` apply to the function.

    If both *dow* and *dom* are given, a day that matches either of them is due.

    :param minutes: numbers from 0 to 59; None means every minute.
    :param hours: numbers from 0 to 23; None means every hour.
    :param dow: days of the week, from 0 (Monday) to 6 (Sunday); None means every day.
    :param months: numbers from 1 to 12; None means every month.
    :param dom: days of the month, from 1 to 31; None means every day.
    :param crontab: all of it as text in this order: ``minutes hours dow months dom``, with ``*``, ``,`` and ``-``.
        Everything above is ignored if this is given. **This is not the order of crontab files**, see *cron*.
    :param cron: an expression as in crontab files: ``minute hour day-of-month month day-of-week`` with Sunday = 0 or 7,
        names, steps, ``L``, ``#``, or ``@daily`` and the like. It stands alone: nothing above may be given with it.
    :param tz: the time zone, by name or as a zone of ``zoneinfo`` or ``pytz``; the site's ``TIME_ZONE`` by default.
    :param name: as for :func:`periodic_task`, and so are *misfire*, *overlap*, *jitter* and *options*.
    :raises InvalidSchedule: the fields or the text make no sense, or never come true. (A ValueError.)
    :raises ConflictingOptions: *cron* and another way to say when are given. (A TypeError.)
    """
    _refuse_function(minutes, "minutes", "@cron_task")

    def decorate(function: Callable[..., Any]) -> ScheduledTask[..., Any]:
        where = f"@cron_task of {_described(function)}"
        if cron is not None:
            fields = {"crontab": crontab, "minutes": minutes, "hours": hours, "dow": dow, "months": months, "dom": dom}
            for field, value in fields.items():
                if value is not None:
                    raise ConflictingOptions(where=where, first=field, second="cron")
        zone = tz if tz is not None else django_settings.TIME_ZONE or "UTC"
        crontabs.zone_name(zone)  # What is no zone is refused before all else.
        timetable = _timetable(minutes, hours, dow, months, dom, crontab, cron, zone)
        checked = _options(where, _CRON_OPTION_NAMES, **options)
        return _scheduled(function, name, where, checked, timetable, _policy(misfire, overlap, jitter, where))

    return decorate


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    priority: int = DEFAULT_PRIORITY,
    queue_name: str = DEFAULT_QUEUE,
    backend: str = "default",
    takes_context: bool = False,
    **options: Any,
) -> Any:
    """Make a function a task of Django's own tasks framework, with options of autotask in every version of Django.

    It is ``django.tasks.task`` of Django 6.1, which passes options on to the backend; Django 6.0 and the backport for 5.2
    do not. Where the backend is another one than :class:`autotask.backend.AutotaskBackend`, as in tests, the options have
    no effect.

    :param priority: −100 to 100, larger first.
    :param queue_name: one of the ``QUEUES`` of the backend.
    :param backend: the alias of the backend in ``TASKS``.
    :param takes_context: whether the first argument of the function, ``context``, is Django's ``TaskContext``.
    :param options: ``retries``, ``timeout`` and the others of :class:`autotask.backend.AutotaskTask`.
    :raises UnknownOption: an option is not known. (A TypeError.)
    :raises InvalidTask: the backend does not accept the task.
    :raises ImproperlyConfigured: there is no tasks framework: Django is 5.2, without the backport.
    """
    # Here, because on Django 5.2 it need not be installed, and changes classes of Django when it is imported.
    from autotask.django_tasks import task_backends

    def decorate(function: Callable[..., Any]) -> Any:
        reject_unknown(options, DJANGO_TASK_OPTION_NAMES, f"@task of {_described(function)}")
        task_class = task_backends[backend].task_class
        known = {field.name for field in dataclasses.fields(task_class)}
        return task_class(
            func=function,
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            takes_context=takes_context,
            run_after=None,
            **{name: value for name, value in options.items() if name in known},
        )

    return decorate if function is None else decorate(function)


def _refuse_function(value: Any, option: str, decorator: str) -> None:
    """Refuse a function in the place of the first option: the decorator would be left at that, and make no task."""
    if callable(value):
        raise InvalidOptionType(
            option=option,
            where=f"{decorator} of {_described(value)}",
            expected=f"given in parentheses (write {decorator}(...), or {decorator}() for the defaults)",
            value=value,
            type=type(value).__name__,
        )


def _timetable(
    minutes: Numbers,
    hours: Numbers,
    dow: Numbers,
    months: Numbers,
    dom: Numbers,
    crontab: str | None,
    cron: str | None,
    zone: str | tzinfo,
) -> Timetable:
    if crontab is not None:
        return crontabs.from_crontab(crontab, zone)
    if cron is not None:
        return crontabs.from_cron(cron, zone)
    return crontabs.from_numbers(minutes, hours, dow, months, dom, zone)


def _policy(misfire: Misfire, overlap: Overlap | None, jitter: float | timedelta, where: str) -> Policy:
    one_of(misfire, "misfire", where, MISFIRES)
    if overlap is not None:
        one_of(overlap, "overlap", where, OVERLAPS)
    if (misfire, overlap) == ("all", "skip"):
        # Of the ticks that are made up for together, all but one would be left out.
        raise ConflictingOptions(where=where, first='misfire="all"', second='overlap="skip"')
    return Policy(
        misfire, overlap or ("queue" if misfire == "all" else "skip"), checked_seconds(jitter, "jitter", where)
    )


def _scheduled(
    function: Callable[..., Any],
    name: str | None,
    where: str,
    options: Options,
    timetable: Timetable,
    policy: Policy,
) -> ScheduledTask[..., Any]:
    called = _callable(function, where)
    refuse_unsuitable(called, options, where)
    _refuse_parameters(called, options, where)
    return registry.register(ScheduledTask(called, _name(function, name, where), options, timetable, policy))


def _options(where: str, own: Sequence[str], /, **given: Any) -> Options:
    """Check the options of a definition; *own* are those that the decorator takes for itself, to be told of as well."""
    if "run_after" in given:
        raise UnknownOption(
            where=where,
            option="run_after",
            suggestion=", which belongs to one call: .using(run_after=...)",
            known=", ".join((*own, *DEFINITION_OPTION_NAMES)),
        )
    reject_unknown(given, (*own, *DEFINITION_OPTION_NAMES), where)
    return Options.of(where, **given)


def _callable(function: Any, where: str) -> Callable[..., Any]:
    if isinstance(function, Definition):
        # Several decorators may be stacked on one function, each with a name of its own.
        return function.function
    if not callable(function) or isinstance(function, type):
        raise InvalidOption(option="function", where=where, expected="a function", value=function)
    return function  # type: ignore[no-any-return]  # callable() has just said what it is


def _refuse_parameters(function: Callable[..., Any], options: Options, where: str) -> None:
    try:
        inspect.signature(function).bind(*([None] if options.takes_context else []))
    except TypeError as error:
        raise InvalidOption(
            option="function", where=where, expected="a function that can be called without arguments", value=str(error)
        ) from None


def _name(function: Any, name: str | None, where: str) -> str:
    return plain_name(name if name is not None else _described(function), "name", where)


def _described(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
