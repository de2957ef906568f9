"""Every AUTOTASK_* setting with type, default and meaning, read live."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Generic, TypeVar, overload

from django.conf import settings as django_settings
from django.utils.functional import empty

from autotask.exceptions import InvalidSetting
from autotask.options import PLAIN_NAME, SHORTEST_TIMEOUT
from autotask.task import COROUTINE, LONGEST_TIME, PROCESS

T = TypeVar("T")

PREFIX = "AUTOTASK_"


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


def _text(value: Any) -> str:
    _refuse_unless(isinstance(value, str) and value != "")
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


def _seconds(least: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        _refuse_unless(isinstance(value, (int, float)) and not isinstance(value, bool))
        _refuse_unless(least <= value <= LONGEST_TIME)
        return float(value)

    return read


def _whole(least: int, most: int) -> Callable[[Any], int]:
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


def _queues(value: Any) -> tuple[str, ...]:
    names = _texts(value)
    _refuse_unless(all(PLAIN_NAME.fullmatch(name) for name in names))
    return names


def _secrets(value: Any) -> tuple[str | bytes, ...]:
    _refuse_unless(isinstance(value, (list, tuple)))
    return tuple(secret for secret in map(_secret, value) if secret is not None)


def _executors(value: Any) -> dict[str, tuple[str, int]]:
    _refuse_unless(isinstance(value, dict))
    return {_executor_name(name): _executor(given) for name, given in value.items()}


def _executor_name(name: Any) -> str:
    _refuse_unless(PLAIN_NAME.fullmatch(_text(name)) is not None and name not in ("thread", PROCESS, COROUTINE))
    return str(name)


def _executor(given: Any) -> tuple[str, int]:
    path, size = (given, EXECUTOR_SIZE) if isinstance(given, str) else given
    _refuse_unless("." in _text(path))
    return path, _whole(1, 10_000)(size)


def _one_of(*words: str) -> SettingType[str]:
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
TEXT = SettingType("a non-empty string", _text)
TEXTS = SettingType("a list of strings", _texts)
FLAG_OR_RAISE = SettingType('True, False or "raise"', _flag_or_raise)
PATHS = SettingType("a list of dotted paths", _paths)
MODULES = SettingType("a list of dotted names of modules", _modules)
MODULES_OR_NONE = SettingType("a list of dotted names of modules, or None", _modules_or_none)
FUNCTION = SettingType("the dotted path of a function, or None", _function)
QUEUES = SettingType("a list of queue names (letters, digits and _ . : < > -)", _queues)
EXECUTORS = SettingType(
    'a dict of names other than "thread", "process" and "coroutine", each with the dotted path of a function that returns '
    "an executor, or a pair of such a path and a number",
    _executors,
)
SECRET = SettingType("a string that is not empty or blank, or None for SECRET_KEY", _secret, secret=True)
SECRETS = SettingType("a list of strings that are not empty or blank", _secrets, secret=True)


#: Stands for a setting that a project has not set.
UNSET: Any = object()

_bare = object.__getattribute__


def _configured() -> Any:
    """Return the object that holds the project's settings now.

    Django's lazy object runs Python code for each attribute and raises for missing ones. Most of ours are missing: that
    takes several microseconds each, several times for each task.
    """
    holder = _bare(django_settings, "_wrapped")
    return django_settings if holder is empty else holder


def secret_key() -> Any:
    """Return the ``SECRET_KEY`` of Django; it may be blank."""
    return getattr(_configured(), "SECRET_KEY", "")


class Setting(Generic[T]):
    """One setting, as a descriptor: reading the attribute reads ``django.conf.settings`` now."""

    def __init__(self, kind: SettingType[T], default: T, meaning: str) -> None:
        self.kind = kind
        self.default = default
        self.meaning = meaning

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = PREFIX + name

    @overload
    def __get__(self, instance: None, owner: type) -> "Setting[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "Setting[T] | T":
        if instance is None:
            return self
        # _configured() inlined: a call takes as long as all the rest, and each task reads five settings.
        holder = _bare(django_settings, "_wrapped")
        value = getattr(django_settings if holder is empty else holder, self.name, UNSET)
        return self.default if value is UNSET else self.accept(value)

    def accept(self, value: Any) -> T:
        """Return the value in the setting's own type.

        :raises InvalidSetting: the value is invalid.
        """
        try:
            return self.kind.read(value)
        except (ValueError, TypeError, OverflowError):
            shown = "•••" if self.kind.secret else value
            raise InvalidSetting(name=self.name, expected=self.kind.expected, value=shown) from None


class Settings:
    """The settings of autotask. All are optional; durations are seconds or ``timedelta``."""

    IS_ACTIVE = Setting(
        FLAG,
        True,
        "False: a call of a decorated function runs it at once and returns its value.",
    )
    IMMEDIATE: Setting[bool | str] = Setting(
        FLAG_OR_RAISE,
        False,
        "True: a call runs its task at once, in place, and returns the handle of the finished task; for tests. "
        '"raise": the same, but if the task ends in ERROR, the call raises the exception of the function.',
    )
    DATABASE = Setting(TEXT, "default", "Alias of the database that holds the tables of autotask.")
    TASKS_MODULE = Setting(TEXT, "tasks", "Module that is imported from each installed app to find its tasks.")
    MODULES: Setting[tuple[str, ...]] = Setting(
        MODULES, (), "More modules to import when Django starts, to find the tasks and schedules in them."
    )

    SETUP = Setting(
        FUNCTION,
        None,
        "Dotted path of a function that sets Django up in companions and child processes, if django.setup() is not enough: "
        "for example, it calls settings.configure(…). None: django.setup(), or configurations.setup() with "
        "django-configurations.",
    )

    COMPANION = Setting(
        _one_of("process", "host", "off"),
        "process",
        '"process": each serving Django process has a worker process of its own. "host": one of those on a host works, the '
        'others stand by. "off": only dedicated workers run tasks.',
    )
    COMPANION_YIELDS = Setting(FLAG, False, "True: companions do not serve queues that a live dedicated worker serves.")
    QUEUES = Setting(QUEUES, (), "Queues that companions serve; empty: all.")
    THREADS = Setting(
        SettingType("a whole number from 1 to 1000", _whole(1, 1000)), 4, "Threads of one worker that run tasks."
    )
    COROUTINES = Setting(
        SettingType("a whole number from 0 to 10000", _whole(0, 10_000)),
        100,
        "Coroutines that one worker runs at a time; 0: it leaves them to other workers.",
    )
    PROCESSES = Setting(
        SettingType("a whole number from 0 to 1000", _whole(0, 1000)),
        2,
        'Child processes of one worker for tasks with executor="process", each started when first needed; '
        "0: it leaves them to other workers.",
    )
    EXECUTORS = Setting(
        EXECUTORS,
        {},
        "Executors of concurrent.futures that tasks can name: for each name the dotted path of a function that returns "
        f"one, or a pair of that path and the number of tasks that it gets at a time (default: {EXECUTOR_SIZE}).",
    )
    SHUTDOWN_GRACE = Setting(
        SettingType("seconds, from 0 to a century", _seconds(0)),
        10.0,
        "Seconds that running tasks get to finish when their worker has to stop.",
    )
    POLL_INTERVAL = Setting(
        SettingType("seconds, from 0.05 to a century", _seconds(0.05)),
        5.0,
        "Seconds after which an idle worker looks for work even if nothing wakes it.",
    )
    HEARTBEAT = Setting(
        SettingType("seconds, from 0.1 to a century", _seconds(0.1)),
        5.0,
        "Seconds between two heartbeats of a worker.",
    )
    LEASE = Setting(
        SettingType("seconds, from 0.5 to a century", _seconds(0.5)),
        30.0,
        "Seconds without a heartbeat after which a worker's tasks are rescued. At least three heartbeats.",
    )

    CONTEXT = Setting(
        PATHS,
        (),
        "Dotted paths of carriers, each of which takes a value from a call to the run of its task, such as "
        '"autotask.carriers.Language", "autotask.carriers.TimeZone" and "autotask.carriers.TenantSchema".',
    )

    TIMEOUT = Setting(
        SettingType("seconds, from 0.1 to a century", _seconds(SHORTEST_TIMEOUT)),
        4 * 3600.0,
        "Seconds that one attempt may take, for tasks without a timeout of their own.",
    )
    RETRY_DELAY = Setting(
        SettingType("seconds, from 0 to a century", _seconds(0)),
        2.0,
        "First delay of the exponential backoff between retries.",
    )
    MAX_CRASHES = Setting(
        SettingType("a whole number from 1 to 1000", _whole(1, 1000)),
        3,
        "A task ends in ERROR when this many workers have died while they ran it.",
    )
    UNKNOWN_TASK_TIMEOUT = Setting(
        SettingType("seconds, from 0 to a century", _seconds(0)),
        600.0,
        "Seconds for which an unknown task waits for a newer worker, before it ends in ERROR.",
    )
    ERROR_TTL = Setting(
        SettingType("seconds, from 0 to a century", _seconds(0)),
        7 * 86400.0,
        "Seconds for which tasks in ERROR are kept.",
    )
    CLEAN_INTERVAL = Setting(
        SettingType("seconds, from 1 to a century", _seconds(1)),
        60.0,
        "Seconds between two prunings of results past their time to live.",
    )

    SIGNING_KEY = Setting(SECRET, None, "Key that signs arguments and results; None: SECRET_KEY.")
    SIGNING_KEY_FALLBACKS = Setting(
        SECRETS,
        (),
        "Older signing keys that are still accepted (as are SECRET_KEY_FALLBACKS while AUTOTASK_SIGNING_KEY is None).",
    )
    MAX_PAYLOAD = Setting(
        SettingType("a whole number from 1024 to 32 MiB (33554432)", _whole(1024, LARGEST_PAYLOAD)),
        262_144,
        "Largest size of pickled arguments or results, in bytes; at most 32 MiB.",
    )
    PICKLE_ALLOWED = Setting(
        MODULES_OR_NONE,
        None,
        "Modules whose classes and functions may be unpickled, with all modules inside them, in addition to everyday values "
        "such as numbers, text, dates and model instances; None: all modules.",
    )
    MASKED_ARGUMENTS = Setting(
        TEXTS,
        (
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
        ),
        "Arguments whose name contains one of these words are shown as ••• in the admin and on the command line. Case, -, _ "
        "and spaces make no difference. Words of up to four letters match a whole part of a name (pin in card_pin, cardPin or "
        "card-pin, but not in shipping), longer ones match anywhere.",
    )

    def __iter__(self) -> Iterator[Setting[Any]]:
        return (value for value in vars(type(self)).values() if isinstance(value, Setting))


settings = Settings()
