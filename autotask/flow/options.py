"""The options of flow control: how each is checked, and which do not go together."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol

from autotask.exceptions import ConflictingOptions, InvalidOption, OptionWithoutEffect
from autotask.flow.debounce import Debounce, checked_debounce
from autotask.flow.keys import Key, checked_key
from autotask.flow.limits import Limit, checked_limit
from autotask.flow.rates import Rate, checked_rate
from autotask.values import one_of, seconds

UniqueFor = Literal["unfinished", "waiting"]
OnConflict = Literal["return", "raise", "replace"]
WhenFull = Literal["wait", "drop", "cancel_running"]

UNFINISHED, WAITING = "unfinished", "waiting"
RETURN, RAISE, REPLACE = "return", "raise", "replace"
WAIT, DROP, CANCEL_RUNNING = "wait", "drop", "cancel_running"

#: In seconds, for ``unique_for``.
_SHORTEST = 0.1


class FlowOptions(Protocol):
    """The options of a task that concern flow control, and those that they depend on."""

    @property
    def queue(self) -> str: ...
    @property
    def delay(self) -> float: ...
    @property
    def run_after(self) -> Any: ...
    @property
    def unique(self) -> Key | None: ...
    @property
    def unique_for(self) -> str | float: ...
    @property
    def on_conflict(self) -> str: ...
    @property
    def concurrency(self) -> Limit | None: ...
    @property
    def when_full(self) -> str: ...
    @property
    def rate(self) -> Rate | None: ...
    @property
    def debounce(self) -> Debounce | None: ...
    @property
    def throttle(self) -> Rate | None: ...


def keys(options: FlowOptions) -> Mapping[str, Key | None]:
    """Return the keys of a task by their options."""
    parts = {name: getattr(options, name) for name in ("concurrency", "rate", "debounce", "throttle")}
    return {"unique": options.unique, **{name: part.key for name, part in parts.items() if part is not None}}


def refuse_conflicts(options: FlowOptions, where: str) -> None:
    """Refuse options that contradict each other, or have no effect without another one.

    :raises ConflictingOptions: two contradict each other.
    :raises OptionWithoutEffect: one is missing.
    """
    exclusive = [name for name in ("unique", "debounce", "throttle") if getattr(options, name) is not None]
    if len(exclusive) > 1:
        raise ConflictingOptions(where=where, first=exclusive[0], second=exclusive[1])
    if options.debounce is not None and (options.delay or options.run_after):
        raise ConflictingOptions(where=where, first="debounce", second="delay" if options.delay else "run_after")
    if options.on_conflict == REPLACE and not isinstance(options.unique_for, str):
        # After that time the task may have run: there would be nothing to replace.
        raise ConflictingOptions(where=where, first='on_conflict="replace"', second="unique_for in seconds")
    for name, default, needed in _DEPENDENT:
        if getattr(options, name) != default and getattr(options, needed) is None:
            raise OptionWithoutEffect(where=where, option=name, needed=needed)


#: Options, each with its default, and the option that it needs.
_DEPENDENT = (
    ("unique_for", UNFINISHED, "unique"),
    ("on_conflict", RETURN, "unique"),
    ("when_full", WAIT, "concurrency"),
)

#: The options that depend on ``unique``, when ``using(unique=False)`` switches it off.
WITHOUT_UNIQUE: dict[str, Any] = {"unique_for": UNFINISHED, "on_conflict": RETURN}


def _unique(value: Any, where: str) -> Key | None:
    return None if value is False else checked_key(value, "unique", where)


def _unique_for(value: Any, where: str) -> str | float:
    if isinstance(value, (int, float, timedelta)) and not isinstance(value, bool):
        return seconds(value, "unique_for", where, least=_SHORTEST)
    if not isinstance(value, str) or value not in (UNFINISHED, WAITING):
        expected = '"unfinished", "waiting", a number of seconds or a timedelta'
        raise InvalidOption(option="unique_for", where=where, expected=expected, value=value)
    return str(value)


def _word(option: str, *words: str) -> Callable[[Any, str], str]:
    def check(value: Any, where: str) -> str:
        one_of(value, option, where, words)
        return str(value)

    return check


#: By option: returns a value as it is stored, or refuses it.
CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "unique": _unique,
    "unique_for": _unique_for,
    "on_conflict": _word("on_conflict", RETURN, RAISE, REPLACE),
    "concurrency": lambda value, where: checked_limit(value, "concurrency", where),
    "when_full": _word("when_full", WAIT, DROP, CANCEL_RUNNING),
    "rate": lambda value, where: checked_rate(value, "rate", where),
    "debounce": lambda value, where: checked_debounce(value, "debounce", where),
    "throttle": lambda value, where: None if value is False else checked_rate(value, "throttle", where),
}
