"""System checks of the settings, including those of the database; none of them queries it."""

import difflib
import importlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from autotask import carriers, logs
from autotask.conf import Settings, settings
from autotask.exceptions import InvalidSetting
from autotask.setting import PREFIX, Setting
from autotask.setting_types import is_secret
from autotask.texts.lines import describe, one_line

#: A lease that spans fewer heartbeats runs out when one of them is late.
HEARTBEATS_IN_LEASE = 3


def check_engine(**_: Any) -> list[CheckMessage]:
    """autotask.E001: the database is not PostgreSQL."""
    alias = valid("DATABASE", None)
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
    alias = valid("DATABASE", None)
    if alias is None or alias in connections.settings:
        return []
    known = ", ".join(map(repr, connections.settings))
    return [
        Error(
            f"AUTOTASK_DATABASE is {alias!r}, but DATABASES has no such alias.",
            hint=f"{did_you_mean(alias, connections.settings)}DATABASES has {known}.",
            id="autotask.E002",
        )
    ]


def check_autocommit(**_: Any) -> list[CheckMessage]:
    """autotask.E015: Django does not commit on the database of autotask."""
    alias = valid("DATABASE", None)
    if alias is None or alias not in connections.settings or connections[alias].settings_dict["AUTOCOMMIT"]:
        return []
    return [
        Error(
            f"AUTOCOMMIT of the database {alias!r} is False: transaction.atomic() commits nothing there.",
            hint="Remove AUTOCOMMIT, or set AUTOTASK_DATABASE to another alias of the same database without it.",
            id="autotask.E015",
        )
    ]


def check_values(**_: Any) -> list[CheckMessage]:
    """autotask.E003: a setting has an invalid value."""
    return [
        Error(
            one_line(str(problem)),
            hint=f"{setting.meaning} Default: {setting.shown_default}.",
            id="autotask.E003",
        )
        for setting in Settings()
        if (problem := _why_invalid(setting)) is not None
    ]


def check_lease(**_: Any) -> list[CheckMessage]:
    """autotask.E006: the lease is too short for the heartbeat."""
    lease, heartbeat = valid("LEASE", None), valid("HEARTBEAT", None)
    if lease is None or heartbeat is None or lease >= HEARTBEATS_IN_LEASE * heartbeat:
        return []
    return [
        Error(
            f"AUTOTASK_LEASE ({lease:g} s) is less than three times AUTOTASK_HEARTBEAT ({heartbeat:g} s): "
            "running workers would be taken for dead.",
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
        for name, (path, _size) in valid("EXECUTORS", {}).items()
        if (problem := _why_no_function(path))
    ]


def check_secrets(**_: Any) -> list[CheckMessage]:
    """autotask.E012: a secret of Django that signs payloads is empty or blank."""
    return [
        Error(
            f"{name} is empty or blank, so it is not used for the payloads of autotask: anybody could sign with it.",
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
        for path in valid("CONTEXT", ())
        if (problem := _why_unusable(carriers.find, path))
    ]


def check_telemetry(**_: Any) -> list[CheckMessage]:
    """autotask.E023: a module for AUTOTASK_TELEMETRY cannot be used."""
    paths = valid("TELEMETRY", ())
    if not paths:
        return []
    hooks = importlib.import_module("autotask.telemetry.hooks")
    return [
        Error(
            f"AUTOTASK_TELEMETRY has {path!r}, but {problem}.",
            hint="Give the dotted path of a module with an object telemetry, or of such an object. The packages for "
            'autotask.telemetry.otel and autotask.telemetry.sentry are in the extras "otel" and "sentry" of autotask.',
            id="autotask.E023",
        )
        for path in paths
        if (problem := _why_unusable(hooks.find, path))
    ]


def check_modules(**_: Any) -> list[CheckMessage]:
    """autotask.E013: a module of tasks does not exist."""
    return [
        Error(
            f"AUTOTASK_MODULES has {module!r}, but there is no such module: its tasks are not known.",
            hint="Give the dotted name of a module, as you would import it.",
            id="autotask.E013",
        )
        for module in valid("MODULES", ())
        if not is_module(module)
    ]


def check_unknown(**_: Any) -> list[CheckMessage]:
    """autotask.W001: autotask does not know a setting."""
    known = [setting.name for setting in Settings()]
    return [
        Warning(
            f"There is no setting {name}; it has no effect.",
            hint=_meant(name, known) or "The page “Settings” of the documentation has all of them.",
            id="autotask.W001",
        )
        for name in sorted(dir(django_settings))
        if name.startswith(PREFIX) and name not in known
    ]


def check_allowed_modules(**_: Any) -> list[CheckMessage]:
    """autotask.W004: a module in AUTOTASK_PICKLE_ALLOWED does not exist."""
    return [
        Warning(
            f"AUTOTASK_PICKLE_ALLOWED has {module!r}, but there is no such module: it allows nothing.",
            hint="Give the dotted name of a module or package, without the names of classes.",
            id="autotask.W004",
        )
        for module in valid("PICKLE_ALLOWED", None) or ()
        if not is_module(module)
    ]


def check_log_dir(**_: Any) -> list[CheckMessage]:
    """autotask.W006: the folder for log files cannot be written."""
    try:
        folder = logs.folder()
    except InvalidSetting:
        return []
    if folder is None or not (problem := logs.why_unwritable(folder)):
        return []
    return [
        Warning(
            f"AUTOTASK_LOG_DIR is {str(folder)!r}, but {problem}: the lines of tasks are not kept in files.",
            hint="Make the folder, and give the user that runs the workers the right to write there.",
            id="autotask.W006",
        )
    ]


def check_time_zone(**_: Any) -> list[CheckMessage]:
    """autotask.W003: Django shows times without a time zone."""
    if django_settings.USE_TZ:
        return []
    return [
        Warning(
            "USE_TZ is False: the admin shows times without their time zone, and an hour each autumn is ambiguous.",
            hint="Set USE_TZ = True. autotask itself uses UTC either way.",
            id="autotask.W003",
        )
    ]


def valid(name: str, otherwise: Any) -> Any:
    """Return the value of a setting, or *otherwise* if it is invalid, which E003 reports."""
    try:
        return getattr(settings, name)
    except InvalidSetting:
        return otherwise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word that is closest to an unknown one, or ""."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {close[0]}? " if close else ""


def is_module(name: str) -> bool:
    """Whether there is a module of that name."""
    try:
        return find_spec(name) is not None
    except Exception:  # its package does not exist, or raises anything
        return False


def _meant(name: str, known: Iterable[str]) -> str:
    # Without what all of them begin with, which would make any two alike.
    rest = name.removeprefix(PREFIX)
    return did_you_mean(rest, [each.removeprefix(PREFIX) for each in known]).replace("mean ", f"mean {PREFIX}").strip()


def _blank_secrets() -> Iterable[tuple[str, str]]:
    if valid("SIGNING_KEY", "invalid") is not None:
        return  # Django's are not used.
    try:
        secret: Any = django_settings.SECRET_KEY
    except ImproperlyConfigured:  # raised by Django for an empty one
        secret = ""
    if not is_secret(secret):
        yield "SECRET_KEY", "Set it to a long random string, or AUTOTASK_SIGNING_KEY."
    for index, fallback in enumerate(django_settings.SECRET_KEY_FALLBACKS):
        if not is_secret(fallback):
            yield f"SECRET_KEY_FALLBACKS[{index}]", "Remove it, or give the older key."


def _why_no_function(path: str) -> str:
    try:
        return "" if callable(import_string(path)) else "that is not a function"
    except Exception as error:  # the module of the project may raise anything
        return f"it cannot be imported ({one_line(describe(error))})"


def _why_unusable(find: Callable[[str], Any], path: str) -> str:
    try:
        find(path)
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
