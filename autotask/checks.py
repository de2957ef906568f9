"""System checks: one function a message, each with an id; none of them asks the database."""

import difflib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Info, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from autotask import carriers, registry
from autotask.conf import PREFIX, Setting, Settings, is_secret, settings
from autotask.definition import Definition
from autotask.exceptions import InvalidSetting
from autotask.functions import SCRIPTS
from autotask.scheduled import ScheduledTask
from autotask.schedules.crontab import Crontab
from autotask.schedules.remarks import remarks
from autotask.task import COROUTINE, PROCESS, THREAD
from autotask.texts.lines import describe, one_line

#: ``manage.py check --tag autotask`` runs these checks only.
TAG = "autotask"

#: Each clock that is changed at all is changed within this time.
LOOK_AHEAD = timedelta(days=366)

#: A lease that spans fewer heartbeats runs out when one of them is late.
HEARTBEATS_IN_LEASE = 3


def check_engine(**_: Any) -> list[CheckMessage]:
    """autotask.E001: the database is not PostgreSQL."""
    alias = _database()
    if alias is None or alias not in connections.settings:
        return []
    if connections[alias].vendor == "postgresql":
        return []
    engine = connections[alias].settings_dict["ENGINE"]
    return [
        Error(
            f"autotask needs PostgreSQL, but the database {alias!r} uses {engine}.",
            hint="Set AUTOTASK_DATABASE to the alias of a PostgreSQL database, or add one to DATABASES.",
            id="autotask.E001",
        )
    ]


def check_alias(**_: Any) -> list[CheckMessage]:
    """autotask.E002: the database is not in DATABASES."""
    alias = _database()
    if alias is None or alias in connections.settings:
        return []
    known = ", ".join(map(repr, connections.settings))
    return [
        Error(
            f"AUTOTASK_DATABASE is {alias!r}, but DATABASES has no such alias.",
            hint=f"{_did_you_mean(alias, connections.settings)}DATABASES has {known}.",
            id="autotask.E002",
        )
    ]


def check_autocommit(**_: Any) -> list[CheckMessage]:
    """autotask.E015: the database of autotask commits nothing by itself."""
    alias = _database()
    if alias is None or alias not in connections.settings or connections[alias].settings_dict["AUTOCOMMIT"]:
        return []
    return [
        Error(
            f"AUTOCOMMIT of the database {alias!r} is False: transaction.atomic() commits nothing there.",
            hint="Remove AUTOCOMMIT, or set AUTOTASK_DATABASE to another alias of the same database that has not set it.",
            id="autotask.E015",
        )
    ]


def check_values(**_: Any) -> list[CheckMessage]:
    """autotask.E003: a setting has a value that it cannot have."""
    return [
        Error(
            one_line(str(problem)),
            hint=f"{setting.meaning} Where it is not set, it is {setting.default!r}.",
            id="autotask.E003",
        )
        for setting in Settings()
        if (problem := _why_invalid(setting)) is not None
    ]


def check_names(**_: Any) -> list[CheckMessage]:
    """autotask.E004: two functions, or two schedules of one function, claim one name."""
    return [
        Error(
            f"Two tasks have the name {first.name!r}: {_place(first)} and {_place(second)}. Workers run the second one.",
            hint='Give one of them another name, with name="…" in its decorator.',
            id="autotask.E004",
        )
        for first, second in registry.duplicates()
    ]


def check_functions(**_: Any) -> list[CheckMessage]:
    """autotask.E005: a worker could not import the function."""
    return [
        Error(
            f"The task {definition.name!r} cannot be imported by a worker: {_place(definition)} is {problem}.",
            hint="Define it with def, at the top level of a module that is imported when Django starts, "
            "such as the tasks.py of an app.",
            id="autotask.E005",
        )
        for definition in registry.definitions()
        if (problem := _why_not_importable(definition))
    ]


def check_lease(**_: Any) -> list[CheckMessage]:
    """autotask.E006: the lease is too short for the heartbeat."""
    try:
        lease, heartbeat = settings.LEASE, settings.HEARTBEAT
    except InvalidSetting:
        return []  # E003 tells.
    if lease >= HEARTBEATS_IN_LEASE * heartbeat:
        return []
    return [
        Error(
            f"AUTOTASK_LEASE ({lease:g} s) is less than three times AUTOTASK_HEARTBEAT ({heartbeat:g} s): "
            "workers that live would be taken for dead.",
            hint=f"Set AUTOTASK_LEASE to {HEARTBEATS_IN_LEASE * heartbeat:g} or more.",
            id="autotask.E006",
        )
    ]


def check_executor_paths(**_: Any) -> list[CheckMessage]:
    """autotask.E007: an executor cannot be made."""
    return [
        Error(
            f"AUTOTASK_EXECUTORS has {path!r} for {name!r}, but {problem}.",
            hint="Give the dotted path of a function that takes no arguments and returns an executor.",
            id="autotask.E007",
        )
        for name, (path, _size) in _executors().items()
        if (problem := _why_no_function(path))
    ]


def check_executor_names(**_: Any) -> list[CheckMessage]:
    """autotask.E008: a task names an executor that there is not."""
    known = ["thread", PROCESS, *_executors()]
    return [
        Error(
            f"The task {definition.name!r} has executor={definition.options.executor!r}, which no worker has.",
            hint=f"{_did_you_mean(definition.executor, known)}Add it to AUTOTASK_EXECUTORS, or use one of "
            f"{', '.join(map(repr, known))}.",
            id="autotask.E008",
        )
        for definition in registry.definitions()
        if definition.executor not in (THREAD, COROUTINE, *known)
    ]


def check_secrets(**_: Any) -> list[CheckMessage]:
    """autotask.E012: a secret of Django that signs payloads is empty or blank."""
    return [
        Error(
            f"{name} is empty or blank, and so is no key for the payloads of autotask: anybody could sign with it.",
            hint=f"{cure} It may come from an environment variable that is not set here.",
            id="autotask.E012",
        )
        for name, cure in _blank_secrets()
    ]


def check_carriers(**_: Any) -> list[CheckMessage]:
    """autotask.E014: a carrier cannot be used."""
    return [
        Error(
            f"AUTOTASK_CONTEXT has {path!r}, but {problem}.",
            hint="Give the dotted path of a class or an object with the methods carry() and restore(value).",
            id="autotask.E014",
        )
        for path in _carriers()
        if (problem := _why_no_carrier(path))
    ]


def check_modules(**_: Any) -> list[CheckMessage]:
    """autotask.E013: a module of tasks that there is not."""
    return [
        Error(
            f"AUTOTASK_MODULES has {module!r}, but there is no such module: its tasks are not known.",
            hint="Give the dotted name of a module as you would import it.",
            id="autotask.E013",
        )
        for module in _named_modules()
        if not is_module(module)
    ]


def check_late(**_: Any) -> list[CheckMessage]:
    """autotask.W005: a task in a module of which workers do not know."""
    return [
        Warning(
            f"Workers do not know the task {definition.name!r} ({_place(definition)}): its module is imported only after "
            f"Django has started, and {_why_not_found(definition)}.",
            hint=f"Add {definition.function.__module__!r} to AUTOTASK_MODULES.",
            id="autotask.W005",
        )
        for definition in registry.definitions()
        if definition.is_hidden
    ]


def check_unknown(**_: Any) -> list[CheckMessage]:
    """autotask.W001: a setting that autotask does not know."""
    known = [setting.name for setting in Settings()]
    return [
        Warning(
            f"There is no setting {name}; it has no effect.",
            hint=f"{_did_you_mean(name, known)}The settings are {', '.join(known)}.",
            id="autotask.W001",
        )
        for name in sorted(dir(django_settings))
        if name.startswith(PREFIX) and name not in known
    ]


def check_allowed_modules(**_: Any) -> list[CheckMessage]:
    """autotask.W004: what may be unpickled names a module that there is not."""
    return [
        Warning(
            f"AUTOTASK_PICKLE_ALLOWED has {module!r}, but there is no such module: it allows nothing.",
            hint="Give the dotted name of a module or package, without the names of classes.",
            id="autotask.W004",
        )
        for module in _allowed_modules()
        if not is_module(module)
    ]


def check_time_zone(**_: Any) -> list[CheckMessage]:
    """autotask.W003: moments without a time zone."""
    if django_settings.USE_TZ:
        return []
    return [
        Warning(
            "USE_TZ is False: the admin shows moments without their time zone, and an hour each autumn is ambiguous.",
            hint="Set USE_TZ = True. autotask itself reckons in UTC either way.",
            id="autotask.W003",
        )
    ]


def check_changes_of_clocks(**_: Any) -> list[CheckMessage]:
    """autotask.I001: a cron task is due at a time that the clocks of its zone skip or repeat."""
    now = datetime.now(UTC)
    return [
        Info(
            f"The schedule {name!r} meets a change of the clock in {timetable.tz}: "
            f"{'; '.join(map(str, remarks(timetable, now, now + LOOK_AHEAD)))}.",
            hint='It still runs once that day. If the time matters, take one that each day has, or tz="UTC".',
            id="autotask.I001",
        )
        for name, task in registry.schedules().items()
        if isinstance(timetable := task.schedule, Crontab)
        and not timetable.follows_real_time
        and remarks(timetable, now, now + LOOK_AHEAD)
    ]


CHECKS: tuple[Callable[..., list[CheckMessage]], ...] = (
    check_engine,
    check_alias,
    check_autocommit,
    check_values,
    check_names,
    check_functions,
    check_lease,
    check_executor_paths,
    check_executor_names,
    check_secrets,
    check_carriers,
    check_modules,
    check_late,
    check_unknown,
    check_allowed_modules,
    check_time_zone,
    check_changes_of_clocks,
)


def register_all() -> None:
    """Tell Django of the checks."""
    for check in CHECKS:
        register(check, TAG)


def _database() -> str | None:
    try:
        return settings.DATABASE
    except InvalidSetting:
        return None  # E003 tells.


def _executors() -> dict[str, tuple[str, int]]:
    try:
        return settings.EXECUTORS
    except InvalidSetting:
        return {}  # E003 tells.


def _carriers() -> tuple[str, ...]:
    try:
        return settings.CONTEXT
    except InvalidSetting:
        return ()  # E003 tells.


def _allowed_modules() -> tuple[str, ...]:
    try:
        return settings.PICKLE_ALLOWED or ()
    except InvalidSetting:
        return ()  # E003 tells.


def _blank_secrets() -> Iterable[tuple[str, str]]:
    try:
        own = settings.SIGNING_KEY
    except InvalidSetting:
        return  # E003 tells.
    if own is not None:
        return  # Django's are not used.
    try:
        secret: Any = django_settings.SECRET_KEY
    except ImproperlyConfigured:  # which Django raises for an empty one
        secret = ""
    if not is_secret(secret):
        yield "SECRET_KEY", "Set it to a long random string, or AUTOTASK_SIGNING_KEY."
    for index, fallback in enumerate(django_settings.SECRET_KEY_FALLBACKS):
        if not is_secret(fallback):
            yield f"SECRET_KEY_FALLBACKS[{index}]", "Remove it, or give the older key."


def _named_modules() -> tuple[str, ...]:
    try:
        return settings.MODULES
    except InvalidSetting:
        return ()  # E003 tells.


def is_module(name: str) -> bool:
    """Whether there is a module of that name."""
    try:
        return find_spec(name) is not None
    except Exception:  # the package it is in is not there, or raises anything
        return False


def _why_no_function(path: str) -> str:
    try:
        return "" if callable(import_string(path)) else "that is no function"
    except Exception as error:  # the module of the project may raise anything
        return f"it cannot be imported ({one_line(describe(error))})"


def _why_no_carrier(path: str) -> str:
    try:
        carriers.find(path)
    except ImportError as error:
        return f"it cannot be imported ({one_line(describe(error))})"
    except Exception as error:  # the module of the project may raise anything
        return f"it cannot be used ({one_line(describe(error))})"
    return ""


def _why_invalid(setting: Setting[Any]) -> InvalidSetting | None:
    try:
        setting.__get__(settings, Settings)
    except InvalidSetting as problem:
        return problem
    return None


def _why_not_importable(definition: Definition[Any, Any]) -> str:
    module, qualname = _module_and_name(definition)
    if qualname.endswith("<lambda>"):
        return "a lambda"
    if "<locals>" in qualname:
        return "nested in another function"
    if module in SCRIPTS:
        return "in the script that is being run, which in a worker is another one"
    return ""


def _why_not_found(definition: Definition[Any, Any]) -> str:
    if isinstance(definition, ScheduledTask):
        return "schedules are not looked for"
    return "its name does not begin with that of the module"


def _place(definition: Definition[Any, Any]) -> str:
    return ".".join(_module_and_name(definition))


def _module_and_name(definition: Definition[Any, Any]) -> tuple[str, str]:
    # Not each callable has a name: an instance with __call__ has that of its class.
    function = definition.function
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return function.__module__, name


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {close[0]}? " if close else ""
