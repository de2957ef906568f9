"""Numbers, durations and moments in the language and by the formats of the reader."""

import math
from datetime import datetime

from django.utils.formats import get_format, number_format
from django.utils.translation import gettext, pgettext

#: The units of a duration, each with the next smaller one.
DAY, HOUR, MINUTE = 86400, 3600, 60


def whole(number: int) -> str:
    """Return a whole number with separators: ``1,230,000``, in German ``1.230.000``."""
    return number_format(number, use_l10n=True, force_grouping=True)


def amount(number: float) -> str:
    """Return a number as briefly as suits people: ``7``, ``8.66``, ``1,234.5``, ``0.025``."""
    if not math.isfinite(number):
        return str(number)
    if number == round(number):
        return whole(round(number))
    if abs(number) < 1:
        return _decimal(f"{number:.2g}")
    return number_format(f"{number:.2f}".rstrip("0").rstrip("."), use_l10n=True, force_grouping=True)


def share(part: float, digits: int = 1) -> str:
    """Return a part of one in percent: ``2.5%``, in German ``2,5 %``; only nothing is ``0%``, and only all ``100%``.

    :param digits: after the point, at most.
    """
    percent, least = 100 * part, 10.0**-digits
    if 0 < percent < least:
        return _percent(f"<{least:g}")
    if 100 - least < percent < 100:
        return _percent(f">{100 - least:g}")
    return _percent(f"{percent:.{digits}f}".removesuffix(".0"))


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 d 4 h``."""
    seconds = max(0.0, seconds)
    if round(seconds, 1) < 10:
        return gettext("%(number)s s") % {"number": _decimal(f"{seconds:.1f}")}
    return _in_units(round(seconds))


def precisely(seconds: float) -> str:
    """Return a duration that may be very short: ``12 ms``, ``12.3 s``, ``3 min 20 s``; a negative one as zero."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return gettext("%(number)d ms") % {"number": round(seconds * 1000)}
    if seconds < MINUTE - 0.05:
        return gettext("%(number)s s") % {"number": _decimal(f"{seconds:.1f}")}
    return _in_units(round(seconds))


def moment(value: datetime, *, digits: int = 0, zone: bool = False) -> str:
    """Return a moment in the time zone that it has: ``2026-11-30 06:52:11``, in German ``30.11.2026 06:52:11``.

    :param digits: of the second, up to six.
    :param zone: whether to add how far it is from UTC: ``+01:00``.
    """
    # Not the formats of Django: those of English are American, and take 11/30 for a day.
    words = value.strftime(pgettext("format of a date", "%Y-%m-%d") + " %H:%M:%S")
    words += get_format("DECIMAL_SEPARATOR") + f"{value:%f}"[:digits] if digits else ""
    offset = f"{value:%z}" if zone else ""
    return words + (f"{offset[:3]}:{offset[3:5]}" if offset else "")


def _in_units(whole: int) -> str:
    """Return whole seconds in one or two units."""
    days, hours, minutes, seconds = whole // DAY, whole // HOUR % 24, whole // MINUTE % 60, whole % MINUTE
    if days and hours:
        return gettext("%(days)d d %(hours)d h") % {"days": days, "hours": hours}
    if days:
        return gettext("%(number)d d") % {"number": days}
    if hours and minutes:
        return gettext("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    if hours:
        return gettext("%(number)d h") % {"number": hours}
    if minutes and seconds:
        return gettext("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": seconds}
    return gettext("%(number)d min") % {"number": minutes} if minutes else gettext("%(number)d s") % {"number": seconds}


def _percent(number: str) -> str:
    return gettext("%(number)s%%") % {"number": _decimal(number)}


def _decimal(number: str) -> str:
    return number.replace(".", get_format("DECIMAL_SEPARATOR"))
