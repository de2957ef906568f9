"""Whatever the expression, the zone and the moment: due when cronie, looked at minute by minute, would run it."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import assume, example, given, settings as hypothesis_settings, strategies as st

from autotask.exceptions import InvalidSchedule
from autotask.schedules.crontab import Crontab, from_cron, from_crontab, from_numbers
from tests.helpers import LONG
from tests.unit.cronie import Line, due_minutes

#: Clocks that are changed by an hour, by half an hour (Lord Howe), at midnight (Sao Paulo, until 2019), at one minute
#: past midnight (St. John's, until 2011), and twice more around a month that wanders (Casablanca).
ZONES = (
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Casablanca",
    "Asia/Kathmandu",
)

#: Moments at which one of these clocks is changed.
CHANGES = [
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        "2026-03-29T01:00",
        "2026-10-25T01:00",
        "2026-04-04T15:00",
        "2026-10-03T15:30",
        "2018-02-18T02:00",
        "2018-11-04T03:00",
        "2010-03-14T03:31",
        "2010-11-07T02:31",
        "2026-02-15T02:00",
        "2026-03-22T02:00",
    )
]

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


# --- random lines, as text and as what the text means ----------------------------------------------------------------


@dataclass
class Written:
    """A line as somebody writes it, how to make its timetable in a zone, and what it means."""

    text: object
    timetable: Callable[[str], Crontab]
    meaning: Line

    def __repr__(self) -> str:
        return repr(self.text)


@st.composite
def terms(draw, least, most, names=(), often=None):
    """One term of a field in the notation of cron, and the numbers it stands for; none of them larger than *often*."""
    number = st.integers(least, often or most)
    start, end = draw(number), draw(number)
    start, end = min(start, end), max(start, end)

    def shown(value):
        return (
            draw(st.sampled_from((names[value - least], names[value - least].upper(), str(value)))) if names else value
        )

    kind = draw(st.sampled_from(["number", "range", "steps", "from"]))
    step = draw(st.integers(1, max(1, (most - least) // 2)))
    if kind == "number":
        return f"{shown(start)}", {start}
    if kind == "range":
        return f"{shown(start)}-{shown(end)}", set(range(start, end + 1))
    if kind == "steps":
        return f"{shown(start)}-{shown(end)}/{step}", set(range(start, end + 1, step))
    return f"{start}/{step}", set(range(start, most + 1, step))


@st.composite
def weekday_terms(draw):
    """One term for days of the week: over Sunday too, by number of the week, and the last of the month."""
    first, length, step = draw(st.integers(0, 6)), draw(st.integers(0, 6)), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["day", "range", "steps", "nth", "last"]))
    days = [(first + n) % 7 for n in range(length + 1)]

    def shown(day):
        numbers = ("0", "7") if day == 0 else (str(day),)
        return draw(st.sampled_from((*numbers, WEEKDAYS[day], WEEKDAYS[day].upper())))

    if kind == "day":
        return shown(first), {first}
    if kind == "nth":
        nth = draw(st.integers(1, 5))
        return f"{shown(first)}#{nth}", {(first, nth)}
    if kind == "last":
        return f"{shown(first)}L", {(first, -1)}
    assume(length > 0)
    text = f"{shown(first)}-{shown(days[-1])}"
    return (text, set(days)) if kind == "range" else (f"{text}/{step}", set(days[::step]))


def listed(several, name):
    """Several terms as one field: its text, its numbers, and whether it begins with a star."""
    return st.lists(several, min_size=1, max_size=3).map(
        lambda found: (
            name,
            ",".join(text for text, _ in found),
            set().union(*(numbers for _, numbers in found)),
            False,
        )
    )


@st.composite
def starred(draw, name, least, most):
    """A field that begins with a star."""
    step = draw(st.integers(1, max(1, (most - least) // 2)))
    return name, "*" if step == 1 else f"*/{step}", set(range(least, most + 1, step)), True


def fields(name, least, most, several):
    return st.one_of(starred(name, least, most), listed(several, name))


ALWAYS_DAYS = st.just(("days", "*", set(range(1, 32)), True))
ALWAYS_MONTHS = st.just(("months", "*", set(range(1, 13)), True))
ALWAYS_WEEKDAYS = st.just(("weekdays", "*", set(range(7)), True))
MINUTES = fields("minutes", 0, 59, terms(0, 59))
HOURS = st.one_of(fields("hours", 0, 23, terms(0, 23)), listed(terms(0, 23, often=4), "hours"))
DAYS = st.one_of(
    ALWAYS_DAYS, fields("days", 1, 31, terms(1, 31)), listed(st.just(("L", {-1})), "days"), ALWAYS_DAYS
)  # fmt: skip
MONTHS_FIELD = st.one_of(ALWAYS_MONTHS, fields("months", 1, 12, terms(1, 12, MONTHS)), ALWAYS_MONTHS)
WEEKDAYS_FIELD = st.one_of(ALWAYS_WEEKDAYS, listed(weekday_terms(), "weekdays"), starred("weekdays", 0, 6))


def line_of(found) -> Line:
    return Line(
        **{name: numbers for name, _, numbers, _ in found}, stars={name for name, _, _, is_star in found if is_star}
    )


@st.composite
def standard_lines(draw, minutes=MINUTES, hours=HOURS):
    """A line in the notation of cron: how to make its timetable, and what it means."""
    found = [draw(strategy) for strategy in (minutes, hours, DAYS, MONTHS_FIELD, WEEKDAYS_FIELD)]
    text = " ".join(text for _, text, _, _ in found)
    return Written(text, lambda tz: from_cron(text, tz), line_of(found))


@st.composite
def plain_fields(draw, name, least, most):
    """A field in the notation of autotask 0.5: a star, or numbers and ascending ranges."""
    if draw(st.booleans()):
        return name, "*", set(range(least, most + 1)), True
    parts, numbers = [], set()
    for _ in range(draw(st.integers(1, 3))):
        start, end = sorted((draw(st.integers(least, most)), draw(st.integers(least, most))))
        parts.append(f"{start}-{end}" if draw(st.booleans()) else str(start))
        numbers |= set(range(start, end + 1)) if "-" in parts[-1] else {start}
    return name, ",".join(parts), numbers, False


@st.composite
def seed_lines(draw):
    """A line in the order of autotask 0.5, as text or as numbers, with Monday as 0."""
    found = [
        draw(plain_fields(name, least, most))
        for name, least, most in (("minutes", 0, 59), ("hours", 0, 23), ("weekdays", 0, 6), ("months", 1, 12), ("days", 1, 31))
    ]  # fmt: skip
    line = line_of(found)
    line.weekdays = {(day + 1) % 7 for day in line.weekdays}
    text = " ".join(text for _, text, _, _ in found)
    if draw(st.booleans()):
        return Written(text, lambda tz: from_crontab(text, tz), line)
    numbers = [None if is_star else draw(st.permutations(sorted(numbers))) for _, _, numbers, is_star in found]
    return Written(numbers, lambda tz: from_numbers(*numbers, tz), line)


ANY_LINE = st.one_of(standard_lines(), seed_lines())
ANY_MOMENT = st.one_of(
    st.datetimes(datetime(2001, 1, 1), datetime(2036, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
    st.builds(lambda change, hours: change + timedelta(hours=hours), st.sampled_from(CHANGES), st.floats(-50, 2)),
)


def timetable_of(line, tz) -> Crontab:
    try:
        return line.timetable(tz)
    except InvalidSchedule as error:
        # Any other refusal is a mistake: the notation is right.
        assert "no such day ever comes" in str(error)
        assume(False)
        raise


def walk(timetable, start, end) -> list[datetime]:
    found, moment = [], timetable.next_after(start)
    while moment <= end:
        found.append(moment)
        moment = timetable.next_after(moment)
    return found


def written(text, **fields):
    """A line by hand, and what its fields mean; those left out are stars."""
    everything = {
        "minutes": set(range(60)),
        "hours": set(range(24)),
        "days": set(range(1, 32)),
        "months": set(range(1, 13)),
        "weekdays": set(range(7)),
    }
    line = Line(**{**everything, **fields}, stars=set(everything) - set(fields))
    return Written(text, lambda tz: from_cron(text, tz), line)


NIGHTLY = written("30 2 * * *", minutes={30}, hours={2})
AT_TWO = written("* 2 * * *", hours={2})


@hypothesis_settings(max_examples=3000 if LONG else 120)
@given(ANY_LINE, st.sampled_from(ZONES), ANY_MOMENT)
@example(NIGHTLY, "Europe/Berlin", CHANGES[0] - timedelta(hours=30))
@example(NIGHTLY, "Europe/Berlin", CHANGES[1] - timedelta(hours=30))
@example(AT_TWO, "Australia/Lord_Howe", CHANGES[2] - timedelta(hours=30))
@example(AT_TWO, "Australia/Lord_Howe", CHANGES[3] - timedelta(hours=30))
def test_for_three_days_every_moment_is_the_one_at_which_cronie_would_run_it(line, tz, start):
    # Given
    timetable = timetable_of(line, tz)
    end = start + timedelta(days=3)

    # When
    expected = due_minutes(line.meaning, tz, start, end)

    # Then: one after the other, or, where they are very many, those around some of them
    if len(expected) <= 300:
        assert walk(timetable, start, end) == expected
        return
    for position in range(0, len(expected) - 1, len(expected) // 100):
        assert timetable.next_after(expected[position]) == expected[position + 1]


@hypothesis_settings(max_examples=200 if LONG else 8)
@given(
    standard_lines(listed(terms(0, 59), "minutes"), listed(terms(0, 23), "hours")), st.sampled_from(ZONES), ANY_MOMENT
)
def test_in_four_hundred_days_none_is_passed_over(line, tz, start):
    # Given
    timetable = timetable_of(line, tz)
    end = start + timedelta(days=400)

    # When
    expected = due_minutes(line.meaning, tz, start, end)

    # Then: one after the other up to a thousand; and what is next from a hundred other moments
    found = walk(timetable, start, expected[999] if len(expected) > 1000 else end)
    assert found == expected[:1000]
    assert all(earlier < later for earlier, later in zip(found, found[1:], strict=False))
    for share in range(100):
        moment = start + share / 100 * (end - start)
        following = bisect_right(expected, moment)
        if following < len(expected):
            assert timetable.next_after(moment) == expected[following]
