"""The rules of AUTOTASK_ALERTS: which situations are incidents, for how long a rule stays quiet, and who gets the messages."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from autotask.values import why_not_url

#: The most seconds over which failures are counted: longer ranges are kept by the hour.
LONGEST_WINDOW = 3 * 3600.0

MOST_RULES = 100
MOST_RECIPIENTS = 20

_DAY = 86400.0

#: An address, in which only scheme and host are no secrets.
_URL = re.compile(r"(https?://)(?:[^/?#]*@)?([^/?#\s]*).*", re.DOTALL)


class Unfit(ValueError):
    """A part of the setting is invalid.

    :ivar where: which part, as an index: ``[0]['share']``.
    """

    def __init__(self, where: str, expected: str, value: Any) -> None:
        super().__init__(where)
        self.where, self.expected, self.value = where, expected, shown(value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    :ivar when: what is looked at: "failures", "age", "workers", "missed" or "length".
    :ivar of: the task, queue or schedule; "": all of them.
    :ivar limit: the threshold: the share of failures, seconds, tasks, or the fewest workers.
    :ivar window: seconds over which failures are counted.
    :ivar least: how many tasks have to have ended in them.
    :ivar quiet: seconds from a message of an incident until the next incident of it is announced.
    :ivar to: mail addresses, and URLs of webhooks; empty: the addresses in ADMINS.
    """

    when: str
    of: str
    limit: float
    window: float = 900.0
    least: int = 10
    quiet: float = 900.0
    to: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Its identity among the rules; it keeps that when its threshold changes."""
        return f"{self.when}:{self.of}"


class _Key(NamedTuple):
    """A key of a rule: how to read it, and what to say about other values."""

    read: Callable[[Any], Any]
    expected: str


def read(value: Any) -> tuple[Rule, ...]:
    """Return the rules in the value of the setting.

    :raises Unfit: a part of it is invalid.
    """
    if not isinstance(value, (list, tuple)) or len(value) > MOST_RULES:
        raise Unfit("", f"a list of at most {MOST_RULES} rules", value)
    rules = tuple(_rule(f"[{place}]", each) for place, each in enumerate(value))
    keys = [rule.key for rule in rules]
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise Unfit(f"[{place}]", f"another rule than [{keys.index(key)}], which looks at the same", value[place])
    return rules


def _rule(where: str, value: Any) -> Rule:
    if not isinstance(value, Mapping):
        raise Unfit(where, "a dict", value)
    when = value.get("when")
    if not isinstance(when, str) or when not in _KINDS:
        raise Unfit(f"{where}['when']", f"one of {', '.join(map(repr, _KINDS))}", when)
    keys = _KINDS[when] | _COMMON
    for name in value:
        if name != "when" and name not in keys:
            raise Unfit(where, f"a dict with some of 'when', {', '.join(map(repr, keys))}", value)
    found = {name: _read(f"{where}[{name!r}]", key, value[name]) for name, key in keys.items() if name in value}
    limit = _LIMITS[when]
    if limit not in found and limit not in _DEFAULTS:
        raise Unfit(where, f"a dict with {limit!r}", value)
    of = next((found.pop(name) for name in ("task", "queue", "schedule") if name in found), "")
    return Rule(when, of, float(found.pop(limit, _DEFAULTS.get(limit, 0))), **found)


def _read(where: str, key: _Key, value: Any) -> Any:
    try:
        return key.read(value)
    except (ValueError, TypeError):
        raise Unfit(where, key.expected, value) from None


def _number(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise ValueError
        return float(value)

    return read


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError
        return value

    return read


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError
    return value


def _recipients(value: Any) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not 0 < len(found) <= MOST_RECIPIENTS:
        raise ValueError
    if not all(not why_not_url(each) if is_url(each) else "@" in each.strip("@") for each in map(_name, found)):
        raise ValueError
    return tuple(dict.fromkeys(found))


def is_url(recipient: str) -> bool:
    """Whether a recipient is the address of a webhook, and not one of a mail."""
    return recipient.startswith(("https://", "http://"))


def shown(value: Any) -> Any:
    """Return a part of the setting for messages: of the addresses of webhooks, which may be secrets, only the hosts."""
    if isinstance(value, str):
        return _URL.sub(r"\1\2/…", value) if is_url(value) else value
    if isinstance(value, Mapping):
        return {name: shown(each) for name, each in value.items()}
    return [*map(shown, value)] if isinstance(value, (list, tuple)) else value


_NAME = _Key(_name, "a name")
_SECONDS = _Key(_number(1, 30 * _DAY), "seconds, from 1 to 30 days")
_COUNT = _Key(_whole(1, 10_000), "a whole number from 1 to 10000")

_COMMON = {
    "quiet": _Key(_number(0, 30 * _DAY), "seconds, from 0 to 30 days"),
    "to": _Key(_recipients, f"a mail address, the URL of a webhook, or a list of at most {MOST_RECIPIENTS} of these"),
}
_KINDS = {
    "failures": {
        "task": _NAME,
        "share": _Key(_number(0.0001, 1), "a number from 0.0001 to 1"),
        "window": _Key(_number(60, LONGEST_WINDOW), "seconds, from 60 to 3 hours"),
        "least": _COUNT,
    },
    "age": {"queue": _NAME, "seconds": _SECONDS},
    "workers": {"fewest": _COUNT},
    "missed": {"schedule": _NAME, "seconds": _SECONDS},
    "length": {"queue": _NAME, "tasks": _Key(_whole(1, 90_000), "a whole number from 1 to 90000")},
}

#: The key of each kind that has the threshold, and those that have a default.
_LIMITS = {"failures": "share", "age": "seconds", "workers": "fewest", "missed": "seconds", "length": "tasks"}
_DEFAULTS = {"fewest": 1}
