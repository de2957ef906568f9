"""Debounce: several calls in a short time become one task, which runs when no more of them come."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.flow.keys import Key, checked_key, refuse_unfit_call
from autotask.values import Seconds, seconds as checked_seconds

_WHERE = "Debounce()"

#: The arguments of ``merge``.
_TWO = inspect.signature(lambda waiting, new, /: None)

#: Returns the arguments of the one task, made of those that it has and those of the new call: names and values.
Merge = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True, init=False)
class Debounce:
    """Wait until no call has come for some seconds, then run once, with the arguments of the last call.

    ::

        @delayed_task(debounce=Debounce(5, key="document_id", at_most=60))
        def index(document_id): ...

    :param seconds: seconds or timedelta after the last call.
    :param key: calls with the same key become one task: True (all arguments), the name of a parameter, a list of names, or a
        function of the task's arguments; None: all calls of the task do.
    :param at_most: seconds or timedelta after the first call, after which it runs even if further calls come.
    :param merge: a function of two sets of arguments, each a dict of names and values: those of the task that waits, and
        those of the new call. It returns the arguments to run with; without it, those of the last call count.
    :raises InvalidOption: a value is out of its range.
    :raises InvalidOptionType: a value has the wrong type.
    """

    seconds: float
    key: Key | None
    at_most: float | None
    merge: Merge | None

    def __init__(
        self, seconds: Seconds, key: Key | None = None, at_most: Seconds | None = None, merge: Merge | None = None
    ) -> None:
        delay = checked_seconds(seconds, "seconds", _WHERE)
        latest = None if at_most is None else checked_seconds(at_most, "at_most", _WHERE, least=delay)
        if merge is not None:
            _refuse_unfit_merge(merge)
        given = {"seconds": delay, "key": checked_key(key, "key", _WHERE), "at_most": latest, "merge": merge}
        for name, value in given.items():
            object.__setattr__(self, name, value)


def _refuse_unfit_merge(merge: Any) -> None:
    expected = "a function of two dicts, or None"
    if not callable(merge):
        raise InvalidOption(option="merge", where=_WHERE, expected=expected, value=merge)
    refuse_unfit_call(merge, _TWO.bind(None, None), "merge", _WHERE, expected)


def checked_debounce(value: Any, option: str, where: str) -> Debounce | None:
    """Return the debounce that is given as seconds, as a timedelta or as a Debounce; False is None.

    :raises InvalidOption: the time is negative or longer than a century.
    :raises InvalidOptionType: it is none of these.
    """
    if value is False or isinstance(value, Debounce):
        return value or None
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        expected, type_ = "a number of seconds, a timedelta or a Debounce", type(value).__name__
        raise InvalidOptionType(option=option, where=where, expected=expected, value=value, type=type_)
    return Debounce(checked_seconds(value, option, where))
