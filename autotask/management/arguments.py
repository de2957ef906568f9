"""Types of arguments for argparse: read a text, or say what was expected."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, time, timedelta

from django.utils import timezone

from autotask.task import LONGEST_TIME
from autotask.values import PLAIN_NAME

_DURATION = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)
_TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(M|G)(?:i?B)?", re.I)

#: The units of durations, in seconds, and of sizes, in bytes.
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "M": 2**20, "G": 2**30}


def duration(least: float = 0) -> Callable[[str], float]:
    """Return the type of a duration in seconds."""

    def read(text: str) -> float:
        found = _DURATION.fullmatch(text.strip().lower())
        if found is None:
            expected = "a number followed by s, m, h or d, like 90s, 15m, 12h or 7d"
            raise ArgumentTypeError(f"{text!r} is not a duration: write {expected}")
        seconds = float(found[1]) * _UNITS[found[2]]
        if seconds > LONGEST_TIME:
            raise ArgumentTypeError(f"{text!r} is more than a century")
        if seconds < least:
            raise ArgumentTypeError(f"{text!r} is less than {least:g}s")
        return seconds

    return read


def moment(text: str) -> datetime:
    """Return a moment to come: a time of day, its next occurrence in the time zone of the project, or a date with a time."""
    zone, text = timezone.get_default_timezone(), text.strip()
    now = datetime.now(zone)
    try:
        if _TIME_OF_DAY.fullmatch(text):
            at = datetime.combine(now.date(), time.fromisoformat(text.zfill(5)), zone)
            found = at if at > now else datetime.combine(now.date() + timedelta(days=1), at.time(), zone)
        else:
            found = datetime.fromisoformat(text)
            found = found if found.utcoffset() is not None else found.replace(tzinfo=zone)
    except ValueError:
        expected = "a time like 18:00, or a date with a time like 2026-12-01T08:00"
        raise ArgumentTypeError(f"{text!r} is not a moment: write {expected}") from None
    if found <= now:
        raise ArgumentTypeError(f"{text!r} is over already")
    return found


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of a whole number within bounds."""

    def read(text: str) -> int:
        # int() alone would also take "1_0", and digits of any script.
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise ArgumentTypeError(f"{text!r} is not a whole number from {least} to {most}")
        return int(text)

    return read


def size(text: str) -> int:
    """Return a size in bytes. The unit is required: nobody means bytes, and few agree on another default."""
    found = _SIZE.fullmatch(text)
    if not found or not float(found[1]):
        raise ArgumentTypeError(f"{text!r} is not a size: write it like 512M or 1.5G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def plain_name(text: str) -> str:
    """Return the name of a queue or a task."""
    if not PLAIN_NAME.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is not a name: names consist of letters, digits and _ . : < > -")
    return text


def plain_names(text: str) -> tuple[str, ...]:
    """Return names that are separated by commas."""
    return tuple(plain_name(name.strip()) for name in text.split(","))
