"""Checks of the values of options, each with the option and the place where it was given in its message."""

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from autotask.exceptions import InvalidOption, InvalidOptionType, UnknownOption
from autotask.other_words import OPTIONS
from autotask.task import LONGEST_TIME

#: Names of queues and tasks end up in channel names, command lines and addresses, so they are plain.
PLAIN_NAME = re.compile(r"\w[\w.:<>-]{0,199}")

#: Characters of the address of a webhook.
LONGEST_URL = 2000

Seconds = float | timedelta


def seconds(value: Any, option: str, where: str, least: float = 0) -> float:
    """Return a duration, given as a number of seconds or as a timedelta, in seconds.

    :raises InvalidOptionType: the value is neither.
    :raises InvalidOption: the value is less than *least*, not finite, or longer than a century.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidOptionType(
            option=option,
            where=where,
            expected="a number of seconds or a timedelta",
            value=value,
            type=type(value).__name__,
        )
    if not least <= value <= LONGEST_TIME:  # NaN is refused, too
        raise InvalidOption(option=option, where=where, expected=f"from {least:g} seconds to a century", value=value)
    return float(value)


def whole(value: Any, option: str, where: str, least: int, most: int) -> int:
    """Return an integer within bounds.

    :raises InvalidOptionType: the value is not an integer.
    :raises InvalidOption: the value is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionType(
            option=option, where=where, expected="a whole number", value=value, type=type(value).__name__
        )
    if not least <= value <= most:
        raise InvalidOption(option=option, where=where, expected=f"a whole number from {least} to {most}", value=value)
    return int(value)  # makes a plain number of an enumeration, too


def flag(value: Any, option: str, where: str) -> bool:
    """Return True or False.

    :raises InvalidOptionType: the value is neither; a value that is merely true may be a mistake.
    """
    if not isinstance(value, bool):
        raise InvalidOptionType(
            option=option, where=where, expected="True or False", value=value, type=type(value).__name__
        )
    return value


def one_of(value: Any, option: str, where: str, allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of the words of an option.

    :raises InvalidOption: it is not.
    """
    if not isinstance(value, str) or value not in allowed:
        raise InvalidOption(
            option=option, where=where, expected=" or ".join(f'"{word}"' for word in allowed), value=value
        )


def plain_name(value: Any, option: str, where: str) -> str:
    """Return a name of 1 to 200 letters, digits and ``_ . : < > -``.

    :raises InvalidOptionType: the value is not a string.
    :raises InvalidOption: the string has other characters, is empty or too long.
    """
    if not isinstance(value, str):
        raise InvalidOptionType(option=option, where=where, expected="a string", value=value, type=type(value).__name__)
    if not PLAIN_NAME.fullmatch(value):
        raise InvalidOption(
            option=option, where=where, expected="1 to 200 letters, digits and _ . : < > -", value=value
        )
    return str(value)


def reject_unknown(given: Iterable[str], known: Sequence[str], where: str, fixed: Collection[str] = ()) -> None:
    """Refuse unknown names, and suggest the nearest known one.

    :param fixed: names that are known in the decorator only.
    :raises UnknownOption: a name is not known.
    """
    for name in given:
        if name in fixed and name not in known:
            suggestion = ", which is the same for all calls: give it to the decorator"
        else:
            suggestion = nearest(name, known)
        if name not in known:
            raise UnknownOption(where=where, option=name, suggestion=suggestion, known=", ".join(known))


def nearest(name: str, known: Collection[str]) -> str:
    """Return the question whether the nearest known name is meant; "" if none is near."""
    other = OPTIONS.get(name)
    close = [other] if other in known else difflib.get_close_matches(name, known, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def why_not_url(url: str) -> str:
    """Return an example of what the address of a webhook should have been; "" if it is one."""
    example = '"https://billing.example/hooks"'
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"{example}, of at most {LONGEST_URL} ASCII characters"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return example
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment:
        return example
    return f"{example}, without a user name or password" if "@" in parts.netloc else ""
