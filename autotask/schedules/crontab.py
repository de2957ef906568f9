"""Crontab expressions: parse once, answer when next in a time zone; cronsim computes the moments."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from autotask.exceptions import InvalidSchedule

#: What a field of a crontab may be given as: one number, or several.
Numbers = int | Iterable[int] | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a crontab in the order that autotask has always used, with Monday as 0.

    :ivar shift: what to add to get the number that cron uses (cron's Monday is 1, its Sunday may be 7).
    """

    name: str
    least: int
    most: int
    shift: int = 0


MINUTES = Field("minutes", 0, 59)
HOURS = Field("hours", 0, 23)
DOW = Field("dow", 0, 6, shift=1)
MONTHS = Field("months", 1, 12)
DOM = Field("dom", 1, 31)

#: The order of the fields in ``crontab="…"``.
ORDER = (MINUTES, HOURS, DOW, MONTHS, DOM)

#: The order that cron uses, in ``cron="…"``.
STANDARD_ORDER = (MINUTES, HOURS, DOM, MONTHS, DOW)

#: Short names of Vixie cron, see crontab(5).
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_TERM = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)

#: How far back to look for the last due moment, in ascending order: the first window that holds one holds few.
_WINDOWS = tuple(timedelta(hours=hours) for hours in (1, 24, 24 * 7, 24 * 32, 24 * 367, 24 * 366 * 8))


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    :raises InvalidSchedule: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(
            expression=name, problem='tz= must be a time zone of the tz database, like "Europe/Berlin"'
        ) from None


def zone_name(tz: str | tzinfo) -> str:
    """Return the name of a zone given by name, as ``zoneinfo.ZoneInfo`` or as a zone of pytz.

    :raises InvalidSchedule: it is none of these.
    """
    if tz is UTC:
        return "UTC"
    name = tz if isinstance(tz, str) else getattr(tz, "key", None) or getattr(tz, "zone", None) or repr(tz)
    return str(zone(name).key)


@dataclass(frozen=True, slots=True)
class Crontab:
    """Due by a standard cron expression of five fields, in a time zone.

    Daylight saving follows Vixie cron: a wall time that the clock skips is due at the next valid instant, one that it
    repeats is due once; expressions with a wildcard in minute or hour follow real time.
    (Debian's cron(8), section "Daylight Saving Time and other time changes".)

    :ivar expression: minute, hour, day of month, month, day of week (Sunday is 0 or 7).
    :ivar tz: name of the time zone.
    """

    expression: str
    tz: str
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", zone(self.tz))
        try:
            next(CronSim(self.expression, datetime(2024, 1, 1, tzinfo=UTC)))
        except (CronSimError, ValueError) as error:  # ValueError: a number of thousands of digits
            raise InvalidSchedule(expression=self.expression, problem=str(error)) from None
        except StopIteration:
            raise InvalidSchedule(expression=self.expression, problem="no such day ever comes") from None

    @property
    def spec(self) -> str:
        """The expression and its time zone as text."""
        return f"cron {self.expression} ({self.tz})"

    def first_after(self, registered: datetime) -> datetime:
        """Return the first moment due after the registration."""
        return self.next_after(registered)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment due after the given one, in UTC."""
        local = moment.astimezone(UTC if self.tz == "UTC" else self._zone)
        dues = (due.astimezone(UTC) for due in CronSim(self.expression, local))
        # Asked inside the second of two equal hours, cronsim answers with what was due in the first one.
        return next(due for due in dues if due > moment)

    def latest_before(self, tick: datetime, now: datetime) -> datetime:
        """Return the last due moment not after *now*."""
        for window in _WINDOWS:
            start = max(tick, now - window)
            latest = start if start == tick else None
            moment = self.next_after(start)
            while moment <= now:
                latest, moment = moment, self.next_after(moment)
            if latest is not None:
                return latest
        return tick


def from_crontab(text: str, tz: str) -> Crontab:
    """Return the timetable of ``crontab="…"``: minutes hours dow months dom, Monday = 0, only ``*``, ``,`` and ``-``.

    :raises InvalidSchedule: the text is not of that form; when it is of cron's own form, the message names ``cron=``.
    """
    _refuse_unless_text(text)
    parts = text.split()
    if len(parts) != len(ORDER):
        raise InvalidSchedule(
            expression=text,
            problem=f"expected 5 fields (minutes hours dow months dom), got {len(parts)}{_hint(text)}",
        )
    fields = {}
    for position, (part, kind) in enumerate(zip(parts, ORDER, strict=True), 1):
        fields[kind] = _translated(part, kind, position, text)
    return Crontab(" ".join(fields[kind] for kind in STANDARD_ORDER), tz)


def from_numbers(minutes: Numbers, hours: Numbers, dow: Numbers, months: Numbers, dom: Numbers, tz: str) -> Crontab:
    """Return the timetable given by numbers for each field; None means every.

    :raises InvalidSchedule: a number is out of the range of its field, or a field is empty.
    """
    given = dict(zip(ORDER, (minutes, hours, dow, months, dom), strict=True))
    return Crontab(" ".join(_listed(given[kind], kind) for kind in STANDARD_ORDER), tz)


def from_cron(text: str, tz: str) -> Crontab:
    """Return the timetable of ``cron="…"``: cron's own notation, with names, steps, ``L``, ``#`` and macros like @daily.

    :raises InvalidSchedule: the text is not of that form.
    """
    _refuse_unless_text(text)
    expression = MACROS.get(text.strip().lower(), text.strip())
    if len(expression.split()) != 5:
        raise InvalidSchedule(
            expression=text,
            problem="expected 5 fields (minute hour day-of-month month day-of-week) or one of " + ", ".join(MACROS),
        )
    return Crontab(expression, tz)


def _refuse_unless_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidSchedule(expression=text, problem="expected text, like '0 7 * * *'")


def _translated(part: str, kind: Field, position: int, text: str) -> str:
    if part == "*":
        return part
    terms = []
    for term in part.split(","):
        match = _TERM.fullmatch(term)
        numbers = [int(group) for group in match.groups() if group is not None] if match else []
        if (
            not numbers
            or not all(kind.least <= number <= kind.most for number in numbers)
            or numbers != sorted(numbers)
        ):
            raise InvalidSchedule(
                expression=text,
                problem=f"field {position} ({kind.name}) has {term!r}, expected *, or numbers and ascending ranges "
                f"from {kind.least} to {kind.most} separated by commas{_hint(text)}",
            )
        terms.append("-".join(str(number + kind.shift) for number in numbers))
    return ",".join(terms)


def _listed(numbers: Numbers, kind: Field) -> str:
    if numbers is None:
        return "*"
    several: list[Any] = (
        list(numbers) if isinstance(numbers, Iterable) and not isinstance(numbers, bytes) else [numbers]
    )
    if not several or not all(_fits(number, kind) for number in several):
        raise InvalidSchedule(
            expression=f"{kind.name}={numbers!r}",
            problem=f"expected integers from {kind.least} to {kind.most}, or None for every one",
        )
    return ",".join(str(number + kind.shift) for number in sorted(set(several)))


def _fits(number: Any, kind: Field) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and kind.least <= number <= kind.most


def _hint(text: str) -> str:
    """Name ``cron=`` if the text is an expression in cron's own order."""
    try:
        from_cron(text, "UTC")
    except InvalidSchedule:
        return ""
    return f'. It looks like cron\'s own order (minute hour dom month dow); for that write cron="{text}"'
