"""Everything to write tasks with: the decorators, their options, the exceptions that control a task, and the context."""

import dataclasses
from collections.abc import Callable, Coroutine
from datetime import tzinfo
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from autotask import decorating
from autotask.context import TaskContext, current
from autotask.control import Cancel, Discard, RateLimited, Retry, Snooze
from autotask.delayed import DelayedTask
from autotask.exceptions import AlreadyEnqueued
from autotask.flow.debounce import Debounce
from autotask.flow.limits import Limit
from autotask.flow.rates import Rate
from autotask.on_end import Webhook
from autotask.options import DJANGO_DECORATOR_OPTION_NAMES, DefinitionOptions, DjangoTaskOptions
from autotask.scheduled import ScheduledTask
from autotask.schedules.crontab import Numbers
from autotask.schedules.every import Every
from autotask.schedules.policy import Misfire, Overlap
from autotask.task import DEFAULT_PRIORITY, DEFAULT_QUEUE
from autotask.values import Seconds, flag, reject_unknown, seconds as checked_seconds

__all__ = [
    "AlreadyEnqueued",
    "Cancel",
    "Debounce",
    "Discard",
    "Limit",
    "Rate",
    "RateLimited",
    "Retry",
    "Snooze",
    "TaskContext",
    "Webhook",
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


class _ScheduleOptions(DefinitionOptions, total=False):
    misfire: Misfire
    overlap: Overlap | None
    jitter: Seconds


class _CronOptions(_ScheduleOptions, total=False):
    cron: str | None
    tz: str | tzinfo | None


@overload
def delayed_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> DelayedTask[P, R]: ...
@overload
def delayed_task(function: Callable[P, R], /) -> DelayedTask[P, R]: ...
@overload
def delayed_task(*, takes_context: Literal[True], **options: Unpack[DefinitionOptions]) -> _MakesDelayedWithContext: ...
@overload
def delayed_task(*, takes_context: Literal[False] = False, **options: Unpack[DefinitionOptions]) -> _MakesDelayed: ...
def delayed_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    delay: Seconds = 0,
    retries: int = 0,
    ttl: Seconds | None = None,
    name: str | None = None,
    **options: Any,
) -> Any:
    """Make a function run later, in a worker: a call stores a task and returns its handle at once.

    ::

        @delayed_task(retries=3)
        def send_report(user_id): ...

        handle = send_report(42)

    :param delay: seconds (or timedelta) to wait at least before the first attempt.
    :param retries: number of further attempts after one that raised.
    :param ttl: seconds (or timedelta) to keep the result at least; None: ``AUTOTASK_TTL``, 300 by default.
    :param name: the name of the task, by default ``module.function``. Give one if the function may move: waiting tasks
        carry it.
    :param options: ``queue`` (name), ``priority`` (−100 to 100, larger first), ``backoff`` ("exponential", seconds, a
        list of seconds, or ``f(exception, attempt)`` that returns seconds), ``retry_on`` and ``no_retry_on`` (exception
        classes), ``expires`` (seconds or timedelta after the task is due, or aware datetime; if it has not begun by then,
        it does not run), ``takes_context`` (the function gets a :class:`~autotask.context.TaskContext` as its first
        argument), ``atomic`` (function and outcome share one transaction), ``at_most_once`` (a run that was cut off is
        never repeated), ``on_missing`` ("error", "discard" or "retry": what happens to the task when a model instance
        among its arguments is gone), ``timeout`` (seconds or timedelta that one attempt may take; by default
        ``AUTOTASK_TIMEOUT``), ``executor`` ("thread", "process" or a name in ``AUTOTASK_EXECUTORS``; by default a thread,
        or an event loop for a coroutine function), ``tags`` (a list of names to find it by), ``unique`` (True, the name of
        a parameter, a list of names, or a function of the arguments: at most one live task with the same values),
        ``unique_for`` ("unfinished", "waiting", or seconds or timedelta), ``on_conflict`` ("return", "raise" or "replace":
        what happens to a call whose key is taken), ``concurrency`` (a number, a name in ``AUTOTASK_LIMITS``, or a
        :class:`~autotask.flow.limits.Limit`: how many run at a time), ``when_full`` ("wait", "drop" or "cancel_running":
        what happens to a task when these are running), ``rate`` (such as "100/m", or a :class:`~autotask.flow.rates.Rate`:
        how many begin in a time), ``debounce`` (seconds, timedelta or a :class:`~autotask.flow.debounce.Debounce`: calls
        become one task), ``throttle`` (such as "1/10m", or a Rate: further calls become no tasks), ``json_schema`` (a dict:
        what the arguments of each call must fit), ``api`` (whether it can be called and seen through the HTTP API).
    :raises UnknownOption: an option is not known. (A TypeError.)
    :raises InvalidOption: a value is out of its range. (A ValueError.)
    :raises InvalidOptionType: a value has the wrong type. (A TypeError.)
    :raises ConflictingOptions: two options contradict each other. (A TypeError.)
    :raises OptionWithoutEffect: an option needs another one. (A TypeError.)
    """

    def decorate(function: Callable[..., Any]) -> DelayedTask[..., Any]:
        where = f"@delayed_task of {decorating.described(function)}"
        given = {"delay": delay, "retries": retries, **({} if ttl is None else {"ttl": ttl}), **options}
        return decorating.define(DelayedTask, function, name, decorating.checked(given, ("name",), where), where)

    return decorate if function is None else decorate(function)


@overload
def periodic_task(
    seconds: Seconds = 3600,
    start_now: bool = False,
    *,
    takes_context: Literal[True],
    **options: Unpack[_ScheduleOptions],
) -> _MakesScheduledWithContext: ...
@overload
def periodic_task(
    seconds: Seconds = 3600,
    start_now: bool = False,
    *,
    takes_context: Literal[False] = False,
    **options: Unpack[_ScheduleOptions],
) -> _MakesScheduled: ...
def periodic_task(
    seconds: Seconds = 3600,
    start_now: bool = False,
    *,
    name: str | None = None,
    misfire: Misfire = "once",
    overlap: Overlap | None = None,
    jitter: Seconds = 0,
    **options: Any,
) -> Any:
    """Make a function run again and again, at a fixed interval.

    The function takes no arguments. Its module must be imported when Django starts, as ``tasks.py`` of an app is. Each
    tick makes one task, however many processes there are. If you call the function, it runs at once, in place.

    :param seconds: the interval, in seconds or as a timedelta. It is anchored: restarts and long runs do not shift it.
    :param start_now: True: it first runs as soon as a worker has registered the schedule; False: one interval later.
    :param name: the name of the schedule and its task, by default ``module.function``. A function may have several
        decorators, if each has a name of its own.
    :param misfire: what happens to ticks that were missed because no worker ran for more than ten seconds. "once": one
        task makes up for them, if the last one is at most an hour late; "skip": they are left out; "all": each gets a
        task, up to a hundred.
    :param overlap: what happens to a tick while the task of an earlier one waits or runs. "skip", the default: it is left
        out; "queue", the default with ``misfire="all"``: it waits; "allow": both may run at the same time.
    :param jitter: each task is delayed at random by up to this many seconds (or a timedelta), so that not all begin at
        once.
    :param options: as for :func:`delayed_task`. They apply to the task of each tick.
    :raises InvalidOption: the interval is less than a tenth of a second, or another value is out of its range.
    """
    decorating.refuse_function(seconds, "seconds", "@periodic_task")

    def decorate(function: Callable[..., Any]) -> ScheduledTask[..., Any]:
        where = f"@periodic_task of {decorating.described(function)}"
        start = flag(start_now, "start_now", where)
        every = Every(checked_seconds(seconds, "seconds", where, least=0.1), start)
        checked = decorating.checked(options, _PERIODIC_OPTION_NAMES, where)
        policy = decorating.policy(misfire, overlap, jitter, where)
        return decorating.schedule(function, name, checked, every, policy, where)

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
    **options: Unpack[_CronOptions],
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
    takes_context: Literal[False] = False,
    **options: Unpack[_CronOptions],
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
    jitter: Seconds = 0,
    **options: Any,
) -> Any:
    """Make a function run by the calendar. The rules of :func:`periodic_task` apply to the function.

    If both *dow* and *dom* are given, days that match either of them are due.

    :param minutes: numbers from 0 to 59; None means every minute.
    :param hours: numbers from 0 to 23; None means every hour.
    :param dow: days of the week, from 0 (Monday) to 6 (Sunday); None means every day.
    :param months: numbers from 1 to 12; None means every month.
    :param dom: days of the month, from 1 to 31; None means every day.
    :param crontab: all of these as one text: ``minutes hours dow months dom``, with ``*``, ``,`` and ``-``. If it is
        given, everything above is ignored. **This is not the order of crontab files**, see *cron*.
    :param cron: an expression as in crontab files: ``minute hour day-of-month month day-of-week`` with Sunday = 0 or 7,
        names, steps, ``L``, ``#``, or ``@daily`` and the like. Nothing above may be given with it.
    :param tz: the time zone, by name or as a zone of ``zoneinfo`` or ``pytz``; the site's ``TIME_ZONE`` by default.
    :param name: as for :func:`periodic_task`, and so are *misfire*, *overlap*, *jitter* and *options*.
    :raises InvalidSchedule: the fields or the text are invalid, or never match. (A ValueError.)
    :raises ConflictingOptions: *cron* is given with one of the parameters above. (A TypeError.)
    """
    decorating.refuse_function(minutes, "minutes", "@cron_task")
    fields = {"minutes": minutes, "hours": hours, "dow": dow, "months": months, "dom": dom}

    def decorate(function: Callable[..., Any]) -> ScheduledTask[..., Any]:
        where = f"@cron_task of {decorating.described(function)}"
        timetable = decorating.timetable(fields, crontab, cron, tz, where)
        checked = decorating.checked(options, _CRON_OPTION_NAMES, where)
        policy = decorating.policy(misfire, overlap, jitter, where)
        return decorating.schedule(function, name, checked, timetable, policy, where)

    return decorate


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    priority: int = DEFAULT_PRIORITY,
    queue_name: str = DEFAULT_QUEUE,
    backend: str = "default",
    takes_context: bool = False,
    **options: Unpack[DjangoTaskOptions],
) -> Any:
    """Make a function a task of Django's own tasks framework, with options of autotask in every version of Django.

    It works like ``django.tasks.task`` of Django 6.1, which passes options to the backend; Django 6.0 and the backport
    for 5.2 do not. With another backend than :class:`autotask.backend.AutotaskBackend`, as in tests, the options have no
    effect.

    :param priority: −100 to 100, larger first.
    :param queue_name: one of the ``QUEUES`` of the backend.
    :param backend: the alias of the backend in ``TASKS``.
    :param takes_context: whether the first argument of the function, ``context``, is Django's ``TaskContext``.
    :param options: ``retries``, ``timeout`` and the others of :class:`autotask.backend.AutotaskTask`.
    :raises UnknownOption: an option is not known. (A TypeError.)
    :raises InvalidTask: the backend does not accept the task.
    :raises ImproperlyConfigured: there is no tasks framework: this is Django 5.2 without the backport.
    """
    # Imported here: on Django 5.2 it need not be installed, and changes classes of Django when it is imported.
    from autotask.django_tasks import task_backends

    def decorate(function: Callable[..., Any]) -> Any:
        reject_unknown(options, DJANGO_DECORATOR_OPTION_NAMES, f"@task of {decorating.described(function)}")
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
