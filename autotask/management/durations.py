"""Durations as people write and read them: 90s, 15m, 12h, 7d."""

import re

from autotask.task import LONGEST_TIME

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_WRITTEN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)

EXPECTED = "a number with s, m, h or d behind it, like 90s, 15m, 12h or 7d"


def parse(text: str) -> float:
    """Return the seconds that a text like ``15m`` means; a bare number is seconds.

    :raises ValueError: it means nothing, or more than a century.
    """
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is no duration: write {EXPECTED}")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > LONGEST_TIME:
        raise ValueError(f"{text!r} is more than a century")
    return seconds


def in_words(seconds: float) -> str:
    """Return a duration for people, in its two largest units: ``0.4 s``, ``12 s``, ``3 m 20 s``, ``2 d 4 h``."""
    seconds = max(0.0, seconds)
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (large, size), (small, part) in _LARGE:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


_LARGE = ((("d", 86400), ("h", 3600)), (("h", 3600), ("m", 60)), (("m", 60), ("s", 1)))
