"""Checks of a definition where it is written: its options, its function and its name."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta, tzinfo
from typing import Any, TypeVar

from django.conf import settings

from autotask import registry
from autotask.definition import Definition
from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType, UnknownOption, UnsuitableFunction
from autotask.functions import refuse_unsuitable
from autotask.options import DEFINITION_OPTION_NAMES, ONLY_OF_CALLS, Options
from autotask.scheduled import ScheduledTask
from autotask.schedules import crontab as crontabs
from autotask.schedules.base import Timetable
from autotask.schedules.crontab import Numbers
from autotask.schedules.policy import MISFIRES, OVERLAPS, Misfire, Overlap, Policy
from autotask.values import one_of, plain_name, reject_unknown, seconds

D = TypeVar("D", bound=Definition[..., Any])


def described(function: Any) -> str:
    """Return the name of a function, for messages and as the default name of its task."""
    name = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{getattr(function, '__module__', '?')}.{name}"


def checked(given: dict[str, Any], own: Sequence[str], where: str) -> Options:
    """Return the options of a definition.

    :param own: the names of the decorator's own options, which messages list, too.
    :param where: the decorator and the function, for messages.
    :raises UnknownOption: an option is not known.
    :raises InvalidOption: a value is out of its range.
    :raises InvalidOptionType: a value has the wrong type.
    """
    known = (*own, *DEFINITION_OPTION_NAMES)
    for option in ONLY_OF_CALLS:
        if option not in given:
            continue
        raise UnknownOption(
            where=where,
            option=option,
            suggestion=f", which belongs to one call: .using({option}=...)",
            known=", ".join(known),
        )
    reject_unknown(given, known, where)
    return Options.of(where, **given)


def define(
    make: Callable[[Callable[..., Any], str, Options], D], function: Any, name: str | None, options: Options, where: str
) -> D:
    """Make a definition of a function, and register it.

    :param make: a class of definitions.
    :param function: the decorated object.
    :param name: the name of the task; None: that of the function.
    :raises InvalidOption: it is not a function, or an option or the name does not suit it.
    :raises UnsuitableFunction: calling it would run nothing of it.
    """
    # Several decorators may be stacked on one function, each with a name of its own.
    called = function.function if isinstance(function, Definition) else function
    if not callable(called) or isinstance(called, type):
        expected = 'a function (options are given by name, such as queue="mail")'
        raise InvalidOption(option="function", where=where, expected=expected, value=called)
    refuse_unsuitable(called, options, where)
    named = plain_name(described(function) if name is None else name, "name", where)
    return registry.register(make(called, named, options))


def schedule(
    function: Any, name: str | None, options: Options, timetable: Timetable, policy: Policy, where: str
) -> ScheduledTask[..., Any]:
    """Make a definition of a function that runs at each tick of a timetable, and register it.

    :raises InvalidOption: as for :func:`define`, or an option is only for calls.
    :raises UnsuitableFunction: as for :func:`define`, or the function needs arguments.
    """
    _refuse_for_timetables(options, where)

    def make(called: Callable[..., Any], name: str, options: Options) -> ScheduledTask[..., Any]:
        try:
            inspect.signature(called).bind(*([None] if options.takes_context else []))
        except TypeError as error:
            given = "only the context" if options.takes_context else "no arguments"
            raise UnsuitableFunction(
                function=described(called),
                problem=f"its schedule gives it {given}, and Python says: {error}",
                advice="Give its other parameters defaults, or use @delayed_task.",
            ) from None
        return ScheduledTask(called, name, options, timetable, policy)

    return define(make, function, name, options, where)


def _refuse_for_timetables(options: Options, where: str) -> None:
    """Refuse options that say when a task runs, or act at a call: ticks do neither."""
    for option in ("debounce", "throttle"):
        if (value := getattr(options, option)) is not None:
            expected = "left out: the timetable says when the task runs"
            raise InvalidOption(option=option, where=where, expected=expected, value=value)
    if options.json_schema is not None:
        expected, value = "left out: a task with a timetable has no arguments", options.json_schema.document
        raise InvalidOption(option="json_schema", where=where, expected=expected, value=value)
    if not isinstance(options.unique_for, str):
        expected = '"unfinished" or "waiting", for a task with a timetable'
        raise InvalidOption(option="unique_for", where=where, expected=expected, value=options.unique_for)


def timetable(
    fields: Mapping[str, Numbers], crontab: str | None, cron: str | None, tz: str | tzinfo | None, where: str
) -> Timetable:
    """Return the timetable that the options of ``@cron_task`` describe.

    :param fields: ``minutes``, ``hours``, ``dow``, ``months`` and ``dom``.
    :raises InvalidSchedule: the fields or the text are invalid, or never match.
    :raises ConflictingOptions: *cron* is given together with *crontab* or a field.
    """
    if cron is not None:
        for field, value in {"crontab": crontab, **fields}.items():
            if value is not None:
                raise ConflictingOptions(where=where, first=field, second="cron")
    zone = tz if tz is not None else settings.TIME_ZONE or "UTC"
    crontabs.zone_name(zone)  # refuses an invalid zone before anything else
    if crontab is not None:
        return crontabs.from_crontab(crontab, zone)
    if cron is not None:
        return crontabs.from_cron(cron, zone)
    return crontabs.from_numbers(**fields, tz=zone)


def policy(misfire: Misfire, overlap: Overlap | None, jitter: float | timedelta, where: str) -> Policy:
    """Return the policy of a schedule for missed ticks and for ticks that come too soon.

    :raises InvalidOption: a value is not one of the known words.
    :raises ConflictingOptions: the two contradict each other.
    """
    one_of(misfire, "misfire", where, MISFIRES)
    if overlap is not None:
        one_of(overlap, "overlap", where, OVERLAPS)
    if (misfire, overlap) == ("all", "skip"):
        # The ticks are made up for at the same time, so all but one would be left out.
        raise ConflictingOptions(where=where, first='misfire="all"', second='overlap="skip"')
    return Policy(misfire, overlap or ("queue" if misfire == "all" else "skip"), seconds(jitter, "jitter", where))


def refuse_function(value: Any, option: str, decorator: str) -> None:
    """Refuse a function as the first option: the decorator was written without parentheses, and would make no task.

    :raises InvalidOptionType: the value is a function.
    """
    if callable(value):
        raise InvalidOptionType(
            option=option,
            where=f"{decorator} of {described(value)}",
            expected=f"given in parentheses (write {decorator}(...), or {decorator}() for the defaults)",
            value=value,
            type=type(value).__name__,
        )
