"""The types of settings: how each reads a value, and what it expects."""

import base64
import logging
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from autotask import alert_rules
from autotask.fetching.hosts import AllowedHost
from autotask.flow.limits import EVERYTHING, MOST_SLOTS
from autotask.task import BACKGROUND, COROUTINE, LONGEST_TIME, PROCESS, REMOTE
from autotask.values import PLAIN_NAME

T = TypeVar("T")

#: The fewest characters of a token: shorter ones can be guessed.
SHORTEST_TOKEN = 16

#: The prefix of a secret of webhooks, and the fewest bytes after that, in base64. (Standard Webhooks, "Signature scheme".)
WEBHOOK_PREFIX = "whsec_"
SHORTEST_WEBHOOK_KEY = 24

#: Words by which arguments are known to hold secrets, unless the site has others.
SECRET_WORDS = (
    *("password", "passwd", "passphrase", "passcode", "passkey", "pass", "pwd"),
    *("pin", "otp", "totp", "cvv", "cvc"),
    *("secret", "token", "jwt", "credential", "authorization", "auth", "oauth", "bearer", "cookie", "session"),
    *(
        "key",
        "api_key",
        "access_key",
        "private_key",
        "encryption_key",
        "signing_key",
        "api",
        "signature",
        "dsn",
    ),
)


class LogOptions(NamedTuple):
    """The part of the tasks' log lines that is kept.

    :ivar level: the lowest level.
    :ivar max: bytes of one attempt.
    :ivar keep: seconds.
    """

    level: int = logging.INFO
    max: int = 65_536
    keep: float = 3 * 86400.0


class SettingType(Generic[T]):
    """A type of setting: how to read a value, and what to say about an invalid one.

    :ivar secret: whether invalid values are hidden, too: one may be a valid secret in the wrong place.
    """

    def __init__(self, expected: str, read: Callable[[Any], T], *, secret: bool = False) -> None:
        self.expected = expected
        self.read = read
        self.secret = secret


def _refuse_unless(condition: bool) -> None:
    if not condition:
        raise ValueError


def _flag(value: Any) -> bool:
    _refuse_unless(isinstance(value, bool))
    return bool(value)


def _flag_or_raise(value: Any) -> bool | str:
    return "raise" if value == "raise" else _flag(value)


def _auto_or_off(value: Any) -> bool | str:
    _refuse_unless(value == "auto" or value is False)
    return False if value is False else "auto"


def _text(value: Any) -> str:
    _refuse_unless(isinstance(value, str) and value != "")
    return str(value)


def webhook_key(value: Any) -> bytes:
    """Return the key in a secret of webhooks.

    :raises ValueError: it is not one.
    """
    text = _text(value)
    _refuse_unless(text.startswith(WEBHOOK_PREFIX))
    key = base64.b64decode(text.removeprefix(WEBHOOK_PREFIX), validate=True)
    _refuse_unless(len(key) >= SHORTEST_WEBHOOK_KEY)
    return key


def webhook_keys(value: Any) -> tuple[bytes, ...]:
    """Return the keys in the value of a setting with one secret of webhooks, several, or none.

    :raises ValueError: it has something else.
    """
    if value is None:
        return ()
    texts = (value,) if isinstance(value, str) else value
    _refuse_unless(isinstance(texts, (list, tuple)))
    return tuple(map(webhook_key, texts))


def _line(value: Any) -> str:
    _refuse_unless(_text(value).isprintable())
    return str(value)


def is_secret(value: Any) -> bool:
    """Whether a value can be a key: text or bytes with more than white space and invisible characters.

    With the value of a missing or empty environment variable, anybody could sign.
    """
    if isinstance(value, bytes):
        return bool(value.strip(b"\0 \t\n\r\v\f"))
    return isinstance(value, str) and any(not character.isspace() and character.isprintable() for character in value)


def _secret(value: Any) -> str | bytes | None:
    _refuse_unless(value is None or is_secret(value))
    return value  # type: ignore[no-any-return]  # checked in the line above


def seconds(least: float, most: float = LONGEST_TIME) -> Callable[[Any], float]:
    """Return a reader of durations within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        _refuse_unless(isinstance(value, (int, float)) and not isinstance(value, bool))
        _refuse_unless(least <= value <= most)
        return float(value)

    return read


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Return a reader of whole numbers within bounds."""

    def read(value: Any) -> int:
        _refuse_unless(isinstance(value, int) and not isinstance(value, bool) and least <= value <= most)
        return int(value)

    return read


def _texts(value: Any) -> tuple[str, ...]:
    _refuse_unless(isinstance(value, Sequence) and not isinstance(value, (str, bytes)))
    return tuple(_text(item) for item in value)


def _paths(value: Any) -> tuple[str, ...]:
    paths = _texts(value)
    _refuse_unless(all("." in path and all(part.isidentifier() for part in path.split(".")) for path in paths))
    return paths


def _modules(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    _refuse_unless(all(part.isidentifier() for name in names for part in name.split(".")))
    return names


def _modules_or_none(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _modules(value)


def _function(value: Any) -> str | None:
    if value is None:
        return None
    parts = _text(value).split(".")
    _refuse_unless(len(parts) > 1 and all(part.isidentifier() for part in parts))
    return str(value)


def _folder(value: Any) -> str | None:
    # Processes of one site run in different folders: a relative path would mean another place in each.
    _refuse_unless(value is None or (isinstance(value, (str, os.PathLike)) and os.path.isabs(value)))
    return None if value is None else str(os.fspath(value))


def _queues(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    _refuse_unless(all(PLAIN_NAME.fullmatch(name) for name in names))
    return names


def _hosts(value: Any) -> tuple[str, ...]:
    hosts = _texts(value)
    for host in hosts:
        AllowedHost.parse(host)
    return hosts


def _secrets(value: Any) -> tuple[str | bytes, ...]:
    _refuse_unless(isinstance(value, (list, tuple)))
    return tuple(secret for secret in map(_secret, value) if secret is not None)


def _tokens(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    found = (value,) if isinstance(value, str) else value
    _refuse_unless(isinstance(found, (list, tuple)))
    for token in found:
        # As a header has it. (RFC 6750, "b64token", and some more.)
        _refuse_unless(isinstance(token, str) and len(token) >= SHORTEST_TOKEN)
        _refuse_unless(token.isascii() and token.isprintable() and " " not in token)
    return tuple(found)


def _logs(value: Any) -> LogOptions | None:
    if value is None:
        return None
    _refuse_unless(isinstance(value, dict) and value.keys() <= set(LogOptions._fields))
    readers: dict[str, Callable[[Any], Any]] = {"level": _level, "max": whole(1024, 2**26), "keep": seconds(60)}
    return LogOptions(**{name: readers[name](each) for name, each in value.items()})


def _level(value: Any) -> int:
    found = logging.getLevelNamesMapping().get(value) if isinstance(value, str) else value
    return whole(1, logging.CRITICAL)(found)


def _executors(value: Any) -> dict[str, tuple[str, int]]:
    _refuse_unless(isinstance(value, dict))
    return {_executor_name(name): _executor(given) for name, given in value.items()}


def _executor_name(name: Any) -> str:
    taken = ("thread", PROCESS, COROUTINE, REMOTE, BACKGROUND)
    _refuse_unless(PLAIN_NAME.fullmatch(_text(name)) is not None and name not in taken)
    return str(name)


def _executor(given: Any) -> tuple[str, int]:
    path, size = (given, EXECUTOR_SIZE) if isinstance(given, str) else given
    _refuse_unless("." in _text(path))
    return path, whole(1, 10_000)(size)


def _limits(value: Any) -> dict[str, int]:
    _refuse_unless(isinstance(value, dict))
    return {_limit_name(name): whole(1, MOST_SLOTS)(most) for name, most in value.items()}


def _limit_name(name: Any) -> str:
    _refuse_unless(PLAIN_NAME.fullmatch(_text(name)) is not None or name == EVERYTHING)
    return str(name)


def _type_limits(value: Any) -> dict[str, int]:
    _refuse_unless(isinstance(value, dict) and EVERYTHING not in value)
    return _limits(value)


def or_none(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Return a reader that accepts None, too."""
    return lambda value: None if value is None else read(value)


def one_of(*words: str) -> SettingType[str]:
    """Return the type of a setting that is one of some words."""

    def read(value: Any) -> str:
        _refuse_unless(value in words)
        return str(value)

    return SettingType(" or ".join(map(repr, words)), read)


#: Tasks that an executor gets at a time by default.
EXECUTOR_SIZE = 100

#: The largest AUTOTASK_MAX_PAYLOAD, in bytes. The statement is twice as long. PostgreSQL accepts up to 1 GB, but takes
#: longer than the 10 seconds of a worker's statement long before that. With psycopg 3.3 and PostgreSQL 15 on two
#: processors, a result of 32 MiB took 3 s (less than 1 s of it in the server), 64 MiB took 8 s and 128 MiB 21 s.
LARGEST_PAYLOAD = 2**25

FLAG = SettingType("True or False", _flag)
AUTO_OR_OFF = SettingType('"auto" or False', _auto_or_off)
TEXT = SettingType("a non-empty string", _text)
LINE = SettingType("a non-empty string on one line", _line)
LINE_OR_NONE = SettingType("a non-empty string on one line, or None", or_none(_line))
TEXTS = SettingType("a list of strings", _texts)
FLAG_OR_RAISE = SettingType('True, False or "raise"', _flag_or_raise)
PATHS = SettingType("a list of dotted paths", _paths)
MODULES = SettingType("a list of dotted names of modules", _modules)
MODULES_OR_NONE = SettingType("a list of dotted names of modules, or None", _modules_or_none)
FOLDER = SettingType("the absolute path of a folder, or None", _folder)
FUNCTION = SettingType("the dotted path of a function, or None", _function)
QUEUES = SettingType("a list of queue names (letters, digits and _ . : < > -)", _queues)
HOSTS = SettingType(
    'a list of hosts, such as "example.org", "example.org:8443", "example.org:*", "*.example.org", "*" and "10.1.2.3"',
    _hosts,
)
CHANNELS = QUEUES
EXECUTORS = SettingType(
    'a dict of names other than "thread", "process", "coroutine" and "remote", each with the dotted path of a function that returns '
    "an executor, or a pair of such a path and a number",
    _executors,
)
LIMITS = SettingType(
    'a dict of names (letters, digits and _ . : < > -, or "*"), each with a whole number from 1 to ' + str(MOST_SLOTS),
    _limits,
)
TYPE_LIMITS = SettingType(f"a dict of names of tasks, each with a whole number from 1 to {MOST_SLOTS}", _type_limits)
WEBHOOK_SECRETS = SettingType(
    f'a secret such as "{WEBHOOK_PREFIX}MfKQ9r8GKYqr…" with the base64 of at least {SHORTEST_WEBHOOK_KEY} random bytes, '
    "a list of these, or None",
    webhook_keys,
    secret=True,
)
SECRET = SettingType("a string that is not empty or blank, or None for SECRET_KEY", _secret, secret=True)
SECRETS = SettingType("a list of strings that are not empty or blank", _secrets, secret=True)
# It may have a password.
REDIS = SettingType("the address of a Redis, the alias of a cache, or None", or_none(_text), secret=True)
PULL_KEY = SettingType("a string that is not empty or blank, or None", _secret, secret=True)
TOKENS = SettingType(
    f"a string of at least {SHORTEST_TOKEN} printable ASCII characters without spaces, a list of these, or None",
    _tokens,
    secret=True,
)
LOGS = SettingType(
    'a dict with "level" (such as "INFO"), "max" (bytes, from 1024 to 64 MiB) and "keep" (seconds, at least 60), each of which '
    "may be left out, or None",
    _logs,
)
ALERTS = SettingType(f"a list of at most {alert_rules.MOST_RULES} rules", alert_rules.read)
