"""System checks of the addresses that clients of django-simpletask2 pull tasks from."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning
from django.utils.encoding import force_bytes

from autotask import redis_address
from autotask.checks.about_settings import valid
from autotask.conf import Settings
from autotask.exceptions import InvalidSetting
from autotask.setting import KnownElsewhere, Setting, secret_key

#: Characters of a key that nobody guesses; less than half of what ``secrets.token_urlsafe()`` gives.
LONG_ENOUGH = 16

_KEY, _REDIS = Settings.PULL_KEY, Settings.PULL_REDIS


def check_pull_key(**_: Any) -> list[CheckMessage]:
    """autotask.E040: the key for pulling is one that signs."""
    key = valid("PULL_KEY", None)
    signs = [name for name, value in _signing() if key is not None and force_bytes(key) == force_bytes(value)]
    if not signs:
        return []
    return [
        Error(
            f"{_name(_KEY)} is the same as {signs[0]}. It is not accepted: clients send it in every request, and may log it.",
            hint="Make one of its own: python -c 'import secrets; print(secrets.token_urlsafe())'",
            id="autotask.E040",
        )
    ]


def check_length_of_pull_key(**_: Any) -> list[CheckMessage]:
    """autotask.W040: the key for pulling can be guessed."""
    key = valid("PULL_KEY", None)
    if key is None or len(key) >= LONG_ENOUGH:
        return []
    return [
        Warning(
            f"{_name(_KEY)} has {len(key)} characters. Anybody who guesses it can run tasks.",
            hint="Make a longer one: python -c 'import secrets; print(secrets.token_urlsafe())'",
            id="autotask.W040",
        )
    ]


def check_redis(**_: Any) -> list[CheckMessage]:
    """autotask.E041: the setting names no Redis."""
    if _redis_address() is not None or valid("PULL_REDIS", None) is None:
        return []
    return [
        Error(
            f"{_name(_REDIS)} must be {redis_address.EXPECTED}.",
            hint="Without Redis, clients pull with task-pull-engine: api; then remove the setting.",
            id="autotask.E041",
        )
    ]


def check_package_of_redis(**_: Any) -> list[CheckMessage]:
    """autotask.E042: the package redis is not installed."""
    if _redis_address() is None or find_spec("redis") is not None:
        return []
    return [
        Error(
            f"{_name(_REDIS)} is set, but the package redis is not installed.",
            hint='Run: pip install "autotask[redis]". Without Redis, clients pull with task-pull-engine: api; then remove the setting.',
            id="autotask.E042",
        )
    ]


def check_settings_of_simpletask2(**_: Any) -> list[CheckMessage]:
    """autotask.I002: a setting of django-simpletask2 is used."""
    return [
        Info(
            f"{found[0]} is used, because {setting.name} is not set.",
            hint=f"Rename it to {setting.name} when django-simpletask2 is gone.",
            id="autotask.I002",
        )
        for setting in Settings()
        if isinstance(setting, KnownElsewhere) and (found := setting.found()) and found[0] != setting.name
    ]


def _redis_address() -> str | None:
    try:
        return redis_address.address()
    except InvalidSetting:
        return None


def _name(setting: Setting[Any]) -> str:
    found = setting.found() if isinstance(setting, KnownElsewhere) else None
    return found[0] if found else setting.name


def _signing() -> Iterator[tuple[str, Any]]:
    yield "SECRET_KEY", secret_key()
    if (key := valid("SIGNING_KEY", None)) is not None:
        yield Settings.SIGNING_KEY.name, key
