"""Crontab expressions: translates each notation to that of cron, for which cronsim computes the due moments."""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from autotask.exceptions import InvalidSchedule
from autotask.schedules import base, clocks, zone_data
from autotask.values import nearest

#: A field of a crontab, as one number or several.
Numbers = int | Iterable[int] | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a crontab in the order that autotask has always used, with Monday as 0.

    :ivar shift: added to get the number that cron uses (cron's Monday is 1, its Sunday may be 7).
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

#: For each field in the order of cron: its name there, and what it takes besides stars, ranges, lists and steps.
CRON_FIELDS = {
    MINUTES: ("minute", "numbers from 0 to 59"),
    HOURS: ("hour", "numbers from 0 to 23"),
    DOM: ("day-of-month", "numbers from 1 to 31, L or LW"),
    MONTHS: ("month", "numbers from 1 to 12 or jan to dec"),
    DOW: ("day-of-week", "numbers from 0 to 7 or sun to sat, with # or L behind them"),
}

#: Names in place of numbers; the first is for the smallest number.
NAMES = {
    MONTHS: ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    DOW: ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}

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

_SECOND = timedelta(seconds=1)

_TERM = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)
_NAME = re.compile(r"\b[A-Z]{3}(?=L?\b)", re.ASCII)
_RANGE = re.compile(r"(\d{1,4})-(\d{1,4})(?:/([1-9]\d{0,3}))?", re.ASCII)

#: Ordinal numbers that CronSim writes as "21th", "32th" and so on, and how they end.
_NTH = re.compile(r"\b([2-5]?(?<!1)([123]))th\b")
_ENDINGS = {"1": "st", "2": "nd", "3": "rd"}
_STEP = re.compile(r".+/(\d+)", re.ASCII)

#: The windows to search for the last due moments, in ascending order: the first window that holds enough does not hold
#: many more. If none does, the search starts at the beginning.
_WINDOWS = tuple(timedelta(hours=hours) for hours in (2, 24, 24 * 7, 24 * 32, 24 * 367))


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    :raises InvalidSchedule: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(
            expression=name,
            problem='tz= must be a time zone of the tz database, like "Europe/Berlin"'
            + nearest(name, available_timezones()),
        ) from None


def zone_name(tz: str | tzinfo) -> str:
    """Return the name of a zone given by name, as ``zoneinfo.ZoneInfo`` or as a zone of pytz.

    :raises InvalidSchedule: it is none of these.
    """
    if tz is UTC:
        return "UTC"
    if _is_of_pytz(tz):
        return str(tz)
    name = tz if isinstance(tz, str) else getattr(tz, "key", None) or getattr(tz, "zone", None) or repr(tz)
    return str(zone(name).key)


def zone_of(tz: str | tzinfo) -> tzinfo:
    """Return a zone with its best rules: one of pytz keeps its own if they are newer than the system's.

    :raises InvalidSchedule: it is not a zone.
    """
    zone_data.remember_versions()
    name = zone_name(tz)
    if isinstance(tz, tzinfo) and _is_of_pytz(tz) and name != "UTC":
        return zone_data.with_best_rules(tz)
    return zone(name)


def _is_of_pytz(tz: object) -> bool:
    return type(tz).__module__.partition(".")[0] == "pytz" and getattr(tz, "zone", None) is not None


@dataclass(frozen=True, slots=True)
class Crontab:
    """A standard cron expression of five fields, in a time zone.

    Daylight saving follows Vixie cron: a wall time that the clock skips is due at the next valid instant, and one that it
    repeats is due once; expressions with a wildcard in minute or hour follow real time.
    (Debian's cron(8), section "Daylight Saving Time and other time changes".)

    :ivar expression: minute, hour, day of month, month, day of week (Sunday is 0 or 7).
    :param given: the time zone, by name or as a zone of ``zoneinfo`` or ``pytz``.
    :ivar tz: name of the time zone.
    """

    expression: str
    given: InitVar[str | tzinfo]
    tz: str = field(init=False)
    _zone: tzinfo = field(init=False, repr=False, compare=False)

    def __post_init__(self, given: str | tzinfo) -> None:
        object.__setattr__(self, "tz", zone_name(given))
        object.__setattr__(self, "_zone", zone_of(given))
        try:
            next(CronSim(self.expression, datetime(2024, 1, 1)))
        except (CronSimError, StopIteration):
            # The notations below have found each field valid by itself: this is 31 February.
            raise InvalidSchedule(expression=self.expression, problem="no such day ever comes") from None

    @property
    def spec(self) -> str:
        """The expression and its time zone as text."""
        return f"cron {self.expression} ({self.tz})"

    @property
    def zone(self) -> tzinfo:
        """The time zone."""
        return self._zone

    @property
    def follows_real_time(self) -> bool:
        """Whether minute or hour has a wildcard, so that changes of the clock neither delay nor drop a run."""
        minute, hour, *_ = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")

    def in_words(self) -> str:
        """Return the expression in English."""
        explained = CronSim(self.expression, datetime(2024, 1, 1)).explain()
        return _NTH.sub(lambda found: found[1] + _ENDINGS[found[2]], explained)

    def first_after(self, registered: datetime) -> datetime:
        """Return the first moment due after the registration."""
        return self.next_after(registered)

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment due after the given one, in UTC."""
        return self._next_in_real_time(moment) if self.follows_real_time else self._next_on_the_wall(moment)

    def due_until(self, tick: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the last due moments until *now*, in order."""
        found: deque[datetime] = deque(maxlen=most)
        for window in (*_WINDOWS, now - tick):
            start = max(tick, now - window)
            found.clear()
            moment = tick if start == tick else self.next_after(start)
            while moment <= now:
                found.append(moment)
                moment = self.next_after(moment)
            if start == tick or len(found) == most:
                break
        return list(found)

    def upcoming(self, count: int = 5, after: datetime | None = None) -> list[datetime]:
        """Return the next due moments after the given one, in UTC."""
        return base.upcoming(self, count, after)

    def walls_between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the due wall times of a clock that never changes, from *start* until before *end*; without zones."""
        for wall in CronSim(self.expression, start - _SECOND):
            if wall >= end:
                return
            yield wall

    def _next_on_the_wall(self, moment: datetime) -> datetime:
        local = moment.astimezone(UTC if self.tz == "UTC" else self._zone)
        dues = (due.astimezone(UTC) for due in CronSim(self.expression, local))
        # For a moment in the second of two equal hours, cronsim returns the times due in the first one.
        return next(due for due in dues if due > moment)

    def _next_in_real_time(self, moment: datetime) -> datetime:
        # Between two changes, the clock runs as evenly as UTC. Across them, cronsim would take steps of whole hours, and
        # go wrong where the clock changes by half an hour, or at midnight.
        start = moment.astimezone(UTC).replace(microsecond=0) + _SECOND
        while True:
            offset = clocks.offset(self._zone, start)
            wall = (start + offset).replace(tzinfo=None)
            due = (next(CronSim(self.expression, wall - _SECOND)) - offset).replace(tzinfo=UTC)
            change = clocks.next_change(self._zone, start, due)
            if change is None:
                return due
            start = change.at


def from_crontab(text: str, tz: str | tzinfo) -> Crontab:
    """Return the timetable of ``crontab="…"``: minutes hours dow months dom, Monday = 0, only ``*``, ``,`` and ``-``.

    :raises InvalidSchedule: the text does not have that form; if it has cron's own, the message names ``cron=``.
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


def from_numbers(
    minutes: Numbers, hours: Numbers, dow: Numbers, months: Numbers, dom: Numbers, tz: str | tzinfo
) -> Crontab:
    """Return the timetable with these numbers in its fields; None means every.

    :raises InvalidSchedule: a number is out of the range of its field, or a field is empty.
    """
    given = dict(zip(ORDER, (minutes, hours, dow, months, dom), strict=True))
    return Crontab(" ".join(_listed(given[kind], kind) for kind in STANDARD_ORDER), tz)


def from_cron(text: str, tz: str | tzinfo) -> Crontab:
    """Return the timetable of ``cron="…"``: cron's own notation, with names, steps, ``L``, ``#`` and macros like @daily.

    :raises InvalidSchedule: the text does not have that form.
    """
    _refuse_unless_text(text)
    parts = MACROS.get(text.strip().lower(), text).split()
    if len(parts) != len(STANDARD_ORDER):
        raise InvalidSchedule(
            expression=text,
            problem=f"expected 5 fields (minute hour day-of-month month day-of-week), got {len(parts)}, or one of "
            + ", ".join(MACROS),
        )
    fields = [
        ",".join(_standard_term(term, kind, position, text) for term in part.split(","))
        for position, (part, kind) in enumerate(zip(parts, STANDARD_ORDER, strict=True), 1)
    ]
    return Crontab(" ".join(fields), tz)


def _refuse_unless_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidSchedule(expression=text, problem="expected text, like '0 7 * * *'")


def _standard_term(term: str, kind: Field, position: int, text: str) -> str:
    """Return a term in cron's own notation as cronsim understands it."""
    standard = _NAME.sub(lambda name: _number(name[0], kind), term.upper())
    if ranged := _RANGE.fullmatch(standard):
        first, last, step = (int(number) for number in ranged.groups("1"))
        standard = _standard_range(standard, kind, first, last, step)
    name, expected = CRON_FIELDS[kind]
    stepped = _STEP.fullmatch(term)
    # A step past the end of the field would do nothing: */90 is not every 90 minutes, but every hour.
    if not _is_known(standard, kind) or (stepped and int(stepped[1]) > kind.most - kind.least):
        raise InvalidSchedule(
            expression=text,
            problem=f"field {position} ({name}) has {term!r}, expected * or {expected}, in ranges and lists like 1-3,5, "
            f"with steps like */2 up to {kind.most - kind.least}",
        )
    return standard


def _number(name: str, kind: Field) -> str:
    names = NAMES.get(kind, ())
    return str(names.index(name) + (kind is MONTHS)) if name in names else name


def _standard_range(term: str, kind: Field, first: int, last: int, step: int) -> str:
    if first == last:
        return str(first)  # cronsim reads 7-7/10 as 7/10
    if kind is DOW and last < first <= 7:
        # Past Sunday, into the next week: fri-mon.
        return ",".join(str(day % 7) for day in range(first, last + 8, step))
    return term


def _is_known(term: str, kind: Field) -> bool:
    others = dict.fromkeys(STANDARD_ORDER, "*")
    try:
        CronSim(" ".join({**others, kind: term or "?"}.values()), datetime(2024, 1, 1))
    except (CronSimError, ValueError):  # ValueError: a number of thousands of digits
        return False
    return True


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
            problem=f"expected integers from {kind.least} to {kind.most}, or None for every one" + _hint(numbers),
        )
    return ",".join(_runs(sorted({number + kind.shift for number in several})))


def _runs(numbers: Sequence[int]) -> Iterator[str]:
    """Yield ascending numbers, three or more in a row as a range, so that 8-17 stays readable."""
    start = 0
    for end, number in enumerate(numbers, 1):
        if end < len(numbers) and numbers[end] == number + 1:
            continue
        if end - start > 2:
            yield f"{numbers[start]}-{number}"
        else:
            yield from map(str, numbers[start:end])
        start = end


def _fits(number: Any, kind: Field) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and kind.least <= number <= kind.most


def _hint(text: object) -> str:
    """Suggest ``cron=`` if this is the text of an expression in cron's own order."""
    if not isinstance(text, str):
        return ""
    try:
        from_cron(text, "UTC")
    except InvalidSchedule:
        return ""
    return f'. It looks like cron\'s own order (minute hour dom month dow); for that write cron="{text}"'
