"""Rates: how many tasks may begin in a time."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.flow.keys import Key, checked_key
from autotask.task import LONGEST_TIME
from autotask.values import whole

#: The most tokens of a bucket, and of one period.
MOST_TOKENS = 1_000_000

#: Seconds: by default, a bucket holds the tokens of this time, so that short delays do not lower the rate.
BURST_TIME = 0.2

#: The units of time, in seconds.
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_RATE = re.compile(r"([0-9]{1,7})/([0-9]{0,7})([smhd])")

_EXPECTED = 'a rate such as "100/m" or "1/10m": COUNT/[N]UNIT, with whole numbers and s, m, h or d as the unit'

_WHERE = "Rate()"

#: Tokens that a task needs, or a function of its arguments that returns them.
Cost = float | Callable[..., float]


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit on how many tasks begin in a period of time, over all workers of the site.

    ::

        @delayed_task(rate=Rate("100/m", burst=20, key="tenant_id"))
        def ask(tenant_id, question): ...

    :param rate: ``COUNT/[N]UNIT`` with s, m, h or d as the unit: ``"100/m"``, ``"5/s"``, ``"1/10m"``.
    :param burst: the most tokens that can be saved up while no task comes; by default those of 0.2 seconds, but at least one.
    :param key: each value of the key has a rate of its own: True (all arguments), the name of a parameter, a list of names,
        or a function of the task's arguments; None: one rate for all calls.
    :param cost: the tokens that a task needs, up to *burst*: a number, or a function of the task's arguments.
    :raises InvalidOption: a value is out of its range.
    :raises InvalidOptionType: a value has the wrong type.

    :ivar interval: the seconds in which one token is added.
    :ivar capacity: the most tokens that can be saved up.
    """

    rate: str
    burst: int | None = None
    key: Key | None = None
    cost: Cost = 1
    interval: float = field(init=False, repr=False, compare=False)
    capacity: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        interval = _interval(self.rate, "rate", _WHERE)
        if self.burst is not None:
            whole(self.burst, "burst", _WHERE, 1, MOST_TOKENS)
        object.__setattr__(self, "interval", interval)
        object.__setattr__(self, "capacity", float(self.burst or max(1.0, BURST_TIME / interval)))
        if interval * self.capacity > LONGEST_TIME:
            expected = "so few tokens that the bucket is full again within a century"
            raise InvalidOption(option="burst", where=_WHERE, expected=expected, value=self.burst)
        object.__setattr__(self, "key", checked_key(self.key, "key", _WHERE))
        if not callable(self.cost):
            checked_cost(self.cost, self.capacity, _WHERE)


def checked_rate(value: object, option: str, where: str) -> Rate:
    """Return the rate that is given as text or as a Rate.

    :raises InvalidOption: the text is not a rate.
    :raises InvalidOptionType: it is neither.
    """
    if isinstance(value, Rate):
        return value
    _interval(value, option, where)
    return Rate(str(value))


def checked_cost(value: Any, capacity: float, where: str) -> float:
    """Return the tokens that a task needs.

    :param capacity: the tokens that its bucket can hold.
    :raises InvalidOption: a full bucket would not be enough, or the number is negative.
    :raises InvalidOptionType: it is not a number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOptionType(
            option="cost",
            where=where,
            expected="a number, or a function of the arguments that returns one",
            value=value,
            type=type(value).__name__,
        )
    if not 0 <= value <= capacity:  # NaN is refused, too
        expected = f"from 0 to {capacity:g}, the burst (for more, give the Rate a larger burst)"
        raise InvalidOption(option="cost", where=where, expected=expected, value=value)
    return float(value)


def _interval(value: object, option: str, where: str) -> float:
    """Return the seconds in which one token is added.

    :raises InvalidOption: the text is not a rate.
    :raises InvalidOptionType: it is not text.
    """
    if not isinstance(value, str):
        raise InvalidOptionType(option=option, where=where, expected=_EXPECTED, value=value, type=type(value).__name__)
    if (found := _RATE.fullmatch(value)) is None:
        raise InvalidOption(option=option, where=where, expected=_EXPECTED, value=value)
    count, periods = int(found[1]), int(found[2] or 1)
    seconds = periods * UNITS[found[3]]
    if not 1 <= count <= MOST_TOKENS or not 1 <= seconds <= LONGEST_TIME:
        expected = f"from 1 to {MOST_TOKENS} in at least a second and at most a century"
        raise InvalidOption(option=option, where=where, expected=expected, value=value)
    return seconds / count
