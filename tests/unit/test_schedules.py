"""When repeated tasks are due: documented examples, bad fields, daylight saving, and no drift."""

import asyncio
import datetime as dt
import inspect
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytz
from hypothesis import given, settings as hypothesis_settings, strategies as st

from autotask import registry
from autotask.exceptions import ConflictingOptions, InvalidSchedule
from autotask.schedules.crontab import Crontab, from_cron, from_crontab, from_numbers, zone_name
from autotask.schedules.every import Every
from autotask.schedules.policy import Policy
from autotask.tasks import cron_task, periodic_task

BERLIN = "Europe/Berlin"
LORD_HOWE = "Australia/Lord_Howe"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])


def at(text, tz="UTC"):
    """Return a moment given as wall time in a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz))


def ticks(timetable, start, count):
    """Return the next due moments after *start*, as wall times of the timetable's zone."""
    found, moment = [], start
    for _ in range(count):
        moment = timetable.next_after(moment)
        assert moment.tzinfo is UTC
        found.append(f"{moment.astimezone(ZoneInfo(timetable.tz)):%Y-%m-%d %H:%M}")
    return found


def days(timetable, start, end):
    """Return the dates between two moments on which a timetable is due."""
    found, moment = [], timetable.next_after(start)
    while moment < end:
        found.append(f"{moment:%m-%d}")
        moment = timetable.next_after(moment)
    return sorted(set(found))


def numbers(tz="UTC", **fields):
    return from_numbers(*(fields.get(name) for name in ("minutes", "hours", "dow", "months", "dom")), tz)


# --- the documented examples ----------------------------------------------------------------------------------------


def test_five_stars_are_every_minute():
    due = ticks(from_crontab("* * * * *", "UTC"), at("2026-12-31T23:58:30"), 3)
    assert due == ["2026-12-31 23:59", "2027-01-01 00:00", "2027-01-01 00:01"]


def test_several_minutes_of_one_hour_are_each_due_every_day():
    due = ticks(from_crontab("15,30 7 * * *", "UTC"), at("2026-03-01T07:20"), 3)
    assert due == ["2026-03-01 07:30", "2026-03-02 07:15", "2026-03-02 07:30"]


def test_the_example_with_mondays_and_days_of_april_and_july():
    # "* 9 0 4,7 10-15": Mondays, and the 10th to the 15th, but only in April and July
    timetable = from_crontab("* 9 0 4,7 10-15", "UTC")
    in_april = ["04-06", "04-10", "04-11", "04-12", "04-13", "04-14", "04-15", "04-20", "04-27"]
    in_july = ["07-06", "07-10", "07-11", "07-12", "07-13", "07-14", "07-15", "07-20", "07-27"]
    assert days(timetable, at("2026-01-01T00:00"), at("2027-01-01T00:00")) == in_april + in_july
    assert ticks(timetable, at("2026-04-06T08:59"), 1) == ["2026-04-06 09:00"]


def test_no_argument_at_all_is_every_minute():
    assert numbers().expression == "* * * * *"


def test_the_same_by_keywords_and_as_text():
    by_keywords = numbers(minutes=[15, 30], hours=[7], dow=[0], months=[4, 7], dom=range(10, 16))
    as_text = from_crontab("15,30 7 0 4,7 10-15", "UTC")
    start = at("2026-01-01T00:00")
    assert ticks(by_keywords, start, 50) == ticks(as_text, start, 50)


# --- fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", range(7))
def test_day_0_is_monday_in_keywords_and_text(day):
    # Given 2026-06-01, a Monday
    for timetable in (numbers(minutes=0, hours=0, dow=day), from_crontab(f"0 0 {day} * *", "UTC")):
        moment = timetable.next_after(at("2026-05-31T12:00"))
        assert moment.weekday() == day
        assert moment == at("2026-06-01T00:00") + timedelta(days=day)


@pytest.mark.parametrize("text", ["0 0 5-6 * *", "0 0 5,6 * *"])
def test_a_weekend_is_written_as_5_and_6(text):
    due = ticks(from_crontab(text, "UTC"), at("2026-06-01T00:00"), 3)
    assert due == ["2026-06-06 00:00", "2026-06-07 00:00", "2026-06-13 00:00"]


def test_a_whole_week_as_range_is_every_day():
    assert len(days(from_crontab("0 0 0-6 * *", "UTC"), at("2026-05-31T12:00"), at("2026-06-30T12:00"))) == 30


def test_only_days_of_the_month_restrict_when_no_weekday_is_given():
    assert days(numbers(dom=[1, 15]), at("2026-06-01T00:00"), at("2026-07-01T00:00")) == ["06-01", "06-15"]


def test_only_weekdays_restrict_when_no_day_of_the_month_is_given():
    assert days(numbers(dow=0), at("2026-06-01T00:00"), at("2026-06-16T00:00")) == ["06-01", "06-08", "06-15"]


def test_weekday_and_day_of_the_month_complement_each_other():
    assert days(numbers(dow=0, dom=3), at("2026-06-01T00:00"), at("2026-06-16T00:00")) == [
        "06-01",
        "06-03",
        "06-08",
        "06-15",
    ]


def test_all_days_of_a_field_are_not_the_same_as_a_star():
    # Either day matches when both are given; a list of all days is given.
    assert len(days(numbers(dow=0, dom=range(1, 32)), at("2026-06-01T00:00"), at("2026-06-16T00:00"))) == 15


def test_the_order_of_numbers_and_repeats_do_not_matter():
    assert numbers(minutes=(30, 15, 30)).expression == numbers(minutes={15, 30}).expression


def test_a_leap_day_comes_every_four_years():
    due = ticks(numbers(minutes=0, hours=0, months=2, dom=29), at("2026-01-01T00:00"), 2)
    assert due == ["2028-02-29 00:00", "2032-02-29 00:00"]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "position", "field", "term"),
    [
        ("60 * * * *", 1, "minutes", "60"),
        ("* 24 * * *", 2, "hours", "24"),
        ("* * 7 * *", 3, "dow", "7"),
        ("* * * 13 *", 4, "months", "13"),
        ("* * * 0 *", 4, "months", "0"),
        ("* * * * 32", 5, "dom", "32"),
        ("* * * * 0", 5, "dom", "0"),
        ("-1 * * * *", 1, "minutes", "-1"),
        ("*/5 * * * *", 1, "minutes", "*/5"),
        ("5,*/5 * * * *", 1, "minutes", "*/5"),
        ("30-15 * * * *", 1, "minutes", "30-15"),
        ("1-2-3 * * * *", 1, "minutes", "1-2-3"),
        ("5, * * * *", 1, "minutes", ""),
        (",5 * * * *", 1, "minutes", ""),
        ("1- * * * *", 1, "minutes", "1-"),
        ("*,5 * * * *", 1, "minutes", "*"),
        ("** * * * *", 1, "minutes", "**"),
        ("* * mon * *", 3, "dow", "mon"),
        ("* * * jan *", 4, "months", "jan"),
        ("* * * * L", 5, "dom", "L"),
        ("* * 0#1 * *", 3, "dow", "0#1"),
        ("1.5 * * * *", 1, "minutes", "1.5"),
        ("+5 * * * *", 1, "minutes", "+5"),
        ("? * * * *", 1, "minutes", "?"),
        ("1~5 * * * *", 1, "minutes", "1~5"),
        (f"{'9' * 5000} * * * *", 1, "minutes", "9" * 5000),
    ],
)
def test_a_bad_field_is_refused_with_its_position_its_name_and_what_it_holds(text, position, field, term):
    with pytest.raises(InvalidSchedule) as caught:
        from_crontab(text, "UTC")
    assert isinstance(caught.value, ValueError)
    assert f"field {position} ({field}) has {term!r}, expected" in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["١ * * * *", "² * * * *", "１５ * * * *"])
def test_digits_of_other_scripts_are_refused(text):
    with pytest.raises(InvalidSchedule, match=r"field 1 \(minutes\)"):
        from_crontab(text, "UTC")


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("*", 1), ("* * * *", 4), ("* * * * * *", 6), ("@daily", 1), ("\n", 0)]
)
def test_a_wrong_number_of_fields_is_refused(text, count):
    with pytest.raises(InvalidSchedule, match=rf"expected 5 fields \(minutes hours dow months dom\), got {count}"):
        from_crontab(text, "UTC")


@pytest.mark.parametrize(
    "text", ["*/5 * * * *", "0 9 15 * 1", "0 0 31 12 *", "30 6 * * mon-fri", "@daily", "0 0 L * *"]
)
def test_text_in_the_order_of_cron_is_refused_with_a_pointer_to_the_other_parameter(text):
    with pytest.raises(InvalidSchedule) as caught:
        from_crontab(text, "UTC")
    assert f'for that write cron="{text}"' in str(caught.value)
    assert from_cron(text, "UTC")


def test_text_that_is_valid_in_no_order_is_refused_without_a_pointer():
    with pytest.raises(InvalidSchedule) as caught:
        from_crontab("61 * * * *", "UTC")
    assert "cron=" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("minutes", 60),
        ("minutes", -1),
        ("minutes", []),
        ("minutes", [5, 60]),
        ("minutes", "5"),
        ("minutes", ["5"]),
        ("minutes", 1.0),
        ("minutes", True),
        ("minutes", [True]),
        ("minutes", "*"),
        ("minutes", b"\x05"),
        ("minutes", {5: 1, "x": 2}),
        ("minutes", object()),
        ("minutes", 1.5),
        ("hours", 24),
        ("dow", 7),
        ("months", 0),
        ("months", 13),
        ("dom", 0),
        ("dom", 32),
        ("dom", iter(())),
    ],
)
def test_a_bad_number_is_refused_with_its_field_and_its_range(field, value):
    with pytest.raises(
        InvalidSchedule, match=rf"{field}=.* is not a valid schedule: expected integers from \d+ to \d+"
    ):
        numbers(**{field: value})


@pytest.mark.parametrize("fields", [{"months": 2, "dom": 30}, {"months": [2, 4], "dom": 31}])
def test_a_day_that_never_comes_is_refused(fields):
    with pytest.raises(InvalidSchedule, match="is not a valid schedule: no such day ever comes"):
        numbers(**fields)


def test_31_february_is_refused_in_each_notation():
    for make in (lambda: from_crontab("0 0 * 2 31", "UTC"), lambda: from_cron("0 0 31 2 *", "UTC")):
        with pytest.raises(InvalidSchedule, match="no such day ever comes"):
            make()


def test_31_february_or_a_monday_comes():
    assert numbers(months=2, dom=31, dow=0).next_after(at("2026-01-01T00:00")) == at("2026-02-02T00:00")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@never",
        "@reboot",
        "61 * * * *",
        "* * * * 8",
        "x * * * *",
        "*/0 * * * *",
        "7-7/0 * * * *",
        "*/90 * * * *",
        "* */24 * * *",
        "0 0 * * sun1",
        "0 0 * * sunday",
        "0 0 * * fri-",
        "0 0 * * fri-8",
        "0 0 * nov-feb *",
        "\0",
        f"{'9' * 5000} * * * *",
    ],
    ids=lambda text: repr(text)[:20],
)
def test_bad_text_in_the_order_of_cron_is_refused(text):
    with pytest.raises(InvalidSchedule) as caught:
        from_cron(text, "UTC")
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "position", "field", "term", "expected"),
    [
        ("60 * * * *", 1, "minute", "60", "numbers from 0 to 59"),
        ("0,61 * * * *", 1, "minute", "61", "numbers from 0 to 59"),
        ("0 24 * * *", 2, "hour", "24", "numbers from 0 to 23"),
        ("0 0 32 * *", 3, "day-of-month", "32", "numbers from 1 to 31, L or LW"),
        ("0 0 1, * *", 3, "day-of-month", "", "numbers from 1 to 31, L or LW"),
        ("0 0 1 foo *", 4, "month", "foo", "numbers from 1 to 12 or jan to dec"),
        ("0 0 * * mon-xyz", 5, "day-of-week", "mon-xyz", "numbers from 0 to 7 or sun to sat"),
        ("0 0 * * 1#6", 5, "day-of-week", "1#6", "with # or L behind them"),
        ("*/90 * * * *", 1, "minute", "*/90", "with steps like */2 up to 59"),
    ],
)
def test_a_bad_field_in_the_order_of_cron_is_refused_with_all_that_helps(text, position, field, term, expected):
    with pytest.raises(InvalidSchedule) as caught:
        from_cron(text, "UTC")
    assert f"field {position} ({field}) has {term!r}, expected * or " in str(caught.value)
    assert expected in str(caught.value)


# --- cron's own notation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "due"),
    [
        ("*/15 * * * *", "2026-06-01T00:01", ["2026-06-01 00:15", "2026-06-01 00:30"]),
        ("0 9 * * mon", "2026-06-01T10:00", ["2026-06-08 09:00", "2026-06-15 09:00"]),
        ("0 9 * * 0", "2026-06-01T10:00", ["2026-06-07 09:00", "2026-06-14 09:00"]),
        ("0 9 * * 7", "2026-06-01T10:00", ["2026-06-07 09:00", "2026-06-14 09:00"]),
        ("0 0 L * *", "2026-02-01T00:00", ["2026-02-28 00:00", "2026-03-31 00:00"]),
        ("0 0 * * 1#2", "2026-06-01T00:00", ["2026-06-08 00:00", "2026-07-13 00:00"]),
        ("0 0 LW * *", "2026-05-01T00:00", ["2026-05-29 00:00", "2026-06-30 00:00"]),
        ("0 0 * * friL", "2026-06-01T00:00", ["2026-06-26 00:00", "2026-07-31 00:00"]),
        ("0 0 * * Sat-mon", "2026-06-02T00:00", ["2026-06-06 00:00", "2026-06-07 00:00", "2026-06-08 00:00"]),
        ("0 0 * * fri-sun", "2026-06-01T00:00", ["2026-06-05 00:00", "2026-06-06 00:00", "2026-06-07 00:00"]),
        ("0 0 * * 5-1/2", "2026-06-01T00:00", ["2026-06-05 00:00", "2026-06-07 00:00", "2026-06-12 00:00"]),
        ("0 0 * * 7-1", "2026-06-02T00:00", ["2026-06-07 00:00", "2026-06-08 00:00", "2026-06-14 00:00"]),
        ("7-7/10 * * * *", "2026-06-01T00:00", ["2026-06-01 00:07", "2026-06-01 01:07"]),
        ("7/20 4 * * *", "2026-06-01T00:00", ["2026-06-01 04:07", "2026-06-01 04:27", "2026-06-01 04:47"]),
        ("0 0 */2 * mon", "2026-06-01T00:00", ["2026-06-15 00:00", "2026-06-29 00:00"]),
        ("0 0 1 jan *", "2026-06-01T00:00", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@hourly", "2026-06-01T00:00", ["2026-06-01 01:00", "2026-06-01 02:00"]),
        ("@daily", "2026-06-01T00:00", ["2026-06-02 00:00", "2026-06-03 00:00"]),
        (" @Midnight ", "2026-06-01T00:00", ["2026-06-02 00:00", "2026-06-03 00:00"]),
        ("@weekly", "2026-06-01T00:00", ["2026-06-07 00:00", "2026-06-14 00:00"]),
        ("@monthly", "2026-06-01T00:00", ["2026-07-01 00:00", "2026-08-01 00:00"]),
        ("@yearly", "2026-06-01T00:00", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        ("@annually", "2026-06-01T00:00", ["2027-01-01 00:00", "2028-01-01 00:00"]),
    ],
)
def test_cron_s_own_notation(text, start, due):
    assert ticks(from_cron(text, "UTC"), at(start), len(due)) == due


# --- daylight saving ------------------------------------------------------------------------------------------------


def test_a_wall_time_that_the_clock_skips_is_due_at_the_next_valid_instant():
    # Berlin, 2026-03-29: 02:00 to 03:00 do not exist
    due = ticks(from_crontab("30 2 * * *", BERLIN), at("2026-03-28T03:00", BERLIN), 3)
    assert due == ["2026-03-29 03:00", "2026-03-30 02:30", "2026-03-31 02:30"]


def test_a_wall_time_that_the_clock_repeats_is_due_once():
    # Berlin, 2026-10-25: 02:00 to 03:00 come twice
    due = ticks(from_crontab("30 2 * * *", BERLIN), at("2026-10-24T03:00", BERLIN), 2)
    assert due == ["2026-10-25 02:30", "2026-10-26 02:30"]


def test_a_gap_of_half_an_hour_is_a_gap():
    # Lord Howe, 2026-10-04: 02:00 to 02:30 do not exist
    due = ticks(from_crontab("15 2 * * *", LORD_HOWE), at("2026-10-03T03:00", LORD_HOWE), 2)
    assert due == ["2026-10-04 02:30", "2026-10-05 02:15"]


def test_what_lies_behind_a_gap_of_half_an_hour_is_due_at_its_own_time():
    due = ticks(from_crontab("45 2 * * *", LORD_HOWE), at("2026-10-03T03:00", LORD_HOWE), 2)
    assert due == ["2026-10-04 02:45", "2026-10-05 02:45"]


def test_a_half_hour_that_is_repeated_is_due_once():
    # Lord Howe, 2026-04-05: 01:30 to 02:00 come twice
    due = ticks(from_crontab("45 1 * * *", LORD_HOWE), at("2026-04-04T03:00", LORD_HOWE), 2)
    assert due == ["2026-04-05 01:45", "2026-04-06 01:45"]


@pytest.mark.parametrize(
    ("tz", "day"),
    [(BERLIN, "2026-03-28"), (BERLIN, "2026-10-24"), (LORD_HOWE, "2026-10-03"), (LORD_HOWE, "2026-04-04")],
)
@pytest.mark.parametrize("text", ["* * * * *", "*/10 * * * *"])
def test_every_few_minutes_follows_real_time_through_a_change_of_the_clock(tz, day, text):
    # Given
    timetable = from_cron(text, tz)
    step = timedelta(minutes=10 if "/" in text else 1)
    moment = timetable.next_after(at(f"{day}T12:00", tz))

    # When, then
    for _ in range(int(timedelta(days=1) / step)):
        following = timetable.next_after(moment)
        assert following - moment == step
        moment = following


def test_with_a_wildcard_what_the_clock_skips_is_left_out():
    # Berlin, 2026-03-29: 02:00 to 03:00 do not exist
    due = ticks(from_cron("*/30 2 * * *", BERLIN), at("2026-03-28T02:15", BERLIN), 2)
    assert due == ["2026-03-28 02:30", "2026-03-30 02:00"]


def test_with_a_wildcard_the_hour_behind_a_gap_of_half_an_hour_is_whole():
    # Lord Howe, 2026-10-04: 02:00 to 02:30 do not exist
    due = ticks(from_cron("*/30 2-3 * * *", LORD_HOWE), at("2026-10-04T01:59", LORD_HOWE), 3)
    assert due == ["2026-10-04 02:30", "2026-10-04 03:00", "2026-10-04 03:30"]


def test_with_a_wildcard_a_midnight_that_the_clock_skips_is_left_out():
    # Sao Paulo, 2018-11-04: 00:00 to 01:00 do not exist
    due = ticks(from_cron("*/30 0-1 * * *", "America/Sao_Paulo"), at("2018-11-03T23:59", "America/Sao_Paulo"), 2)
    assert due == ["2018-11-04 01:00", "2018-11-04 01:30"]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_hourly_is_due_each_real_hour_of_a_day(day, hours):
    # Given
    timetable = from_crontab("0 * * * *", BERLIN)
    begin = at(f"{day}T00:00", BERLIN).astimezone(UTC)
    end = at(f"{day}T23:59", BERLIN).astimezone(UTC)

    # When
    moment, found = timetable.next_after(begin - timedelta(seconds=1)), []
    while moment < end:
        found.append(moment)
        moment = timetable.next_after(moment)

    # Then
    assert found == [begin + timedelta(hours=n) for n in range(hours)]


def test_the_first_moment_after_registration_inside_a_repeated_hour_lies_in_the_future():
    # Given the second 02:15 of Berlin's 2026-10-25
    second = at("2026-10-25T02:15", BERLIN).replace(fold=1)

    # When
    due = from_crontab("30 2 * * *", BERLIN).first_after(second)

    # Then 02:30 was due in the first of both hours
    assert due > second.astimezone(UTC)
    assert due == at("2026-10-26T02:30", BERLIN)


EXPRESSIONS = st.sampled_from(
    ["* * * * *", "30 2 * * *", "0 3 * * *", "59 1 * * *", "0 * * * *", "*/7 * * * *", "30 2 * * 0", "0 0 29 2 *",
     "15 2,3 1-7 * *", "0 0 L * *", "30 */3 * * *"]
)  # fmt: skip
ZONES = st.sampled_from([BERLIN, LORD_HOWE, "UTC", "America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia"])
#: Days around which some of these clocks are changed; Apia left out a whole day at the end of 2011.
CHANGES = [datetime(2011, 12, 30, 10), datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 1), datetime(2026, 4, 4, 15),
           datetime(2026, 10, 3, 15, 30), datetime(2018, 2, 18, 2), datetime(2018, 11, 4, 3)]  # fmt: skip
MOMENTS = st.one_of(
    st.datetimes(datetime(2011, 12, 20), datetime(2030, 1, 1)),
    st.builds(
        lambda change, minutes: change + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.floats(-200, 200)
    ),
).map(lambda moment: moment.replace(tzinfo=UTC))


@hypothesis_settings(max_examples=300)
@given(EXPRESSIONS, ZONES, MOMENTS)
def test_the_next_moment_always_lies_ahead_and_none_is_passed_over(expression, tz, moment):
    # Given
    timetable = from_cron(expression, tz)

    # When
    following = timetable.next_after(moment)

    # Then
    assert following > moment
    middle = moment + (following - moment) / 2
    assert timetable.next_after(middle) == following


@hypothesis_settings(max_examples=60)
@given(EXPRESSIONS, ZONES, MOMENTS, st.floats(0, 1), st.integers(1, 50))
def test_what_was_due_until_now_equals_what_counting_finds(expression, tz, moment, share, most):
    # Given
    timetable = from_cron(expression, tz)
    tick = timetable.next_after(moment)
    step = timetable.next_after(tick) - tick
    now = tick + share * 40 * step

    # When
    due = timetable.due_until(tick, now, most)

    # Then
    expected = [tick]
    while (following := timetable.next_after(expected[-1])) <= now:
        expected.append(following)
    assert due == expected[-most:]


def test_what_was_due_last_is_found_fast_after_years_of_silence():
    timetable = from_crontab("* * * * *", BERLIN)
    now = at("2026-06-01T12:00:30")
    due = timetable.due_until(at("2000-01-01T00:00"), now, 100)
    assert due == [at("2026-06-01T12:00") - timedelta(minutes=99 - number) for number in range(100)]


def test_what_was_due_of_a_rare_schedule_is_found_too():
    timetable = from_cron("0 0 29 2 *", "UTC")
    due = timetable.due_until(at("2000-02-29T00:00"), at("2027-06-01T00:00"), 100)
    assert due == [at(f"{year}-02-29T00:00") for year in range(2000, 2027, 4)]


def test_nothing_is_due_before_the_tick_when_the_clock_went_back():
    tick = at("2026-06-01T12:00")
    for timetable in (from_crontab("* * * * *", "UTC"), Every(60)):
        assert timetable.due_until(tick, tick - timedelta(hours=5), 100) == []
        assert timetable.due_until(tick, tick, 100) == [tick]


def test_the_next_moments_are_told():
    start = at("2026-06-01T12:00:30")
    assert from_crontab("* * * * *", BERLIN).upcoming(2, start) == [at("2026-06-01T12:01"), at("2026-06-01T12:02")]
    assert Every(60).upcoming(2, start) == [at("2026-06-01T12:01:30"), at("2026-06-01T12:02:30")]
    now = datetime.now(UTC)
    assert all(now < moment <= now + timedelta(minutes=6) for moment in from_cron("* * * * *", "UTC").upcoming())


# --- time zones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tz", "name"),
    [
        (BERLIN, BERLIN),
        (ZoneInfo(BERLIN), BERLIN),
        (pytz.timezone(BERLIN), BERLIN),
        (pytz.timezone(LORD_HOWE), LORD_HOWE),
        (pytz.utc, "UTC"),
        (ZoneInfo("UTC"), "UTC"),
        (UTC, "UTC"),
        ("UTC", "UTC"),
    ],
    ids=repr,
)
def test_a_zone_may_come_by_name_from_zoneinfo_or_from_pytz(tz, name):
    assert zone_name(tz) == name


def test_a_zone_of_pytz_is_as_good_as_one_of_zoneinfo():
    due = [
        ticks(from_crontab("30 2 * * *", zone_name(tz)), at("2026-03-28T03:00", BERLIN), 400)
        for tz in (pytz.timezone(BERLIN), ZoneInfo(BERLIN), BERLIN)
    ]
    assert due[0] == due[1] == due[2]


@pytest.mark.parametrize(
    "tz",
    [
        "Europe/Berlln",
        "",
        "../etc/passwd",
        "/etc/passwd",
        "Europe",
        "a\0b",
        "berlin\n",
        dt.timezone(timedelta(hours=1)),
        5,
        object,
    ],
    ids=lambda tz: repr(tz)[:30],
)
def test_what_is_no_zone_is_refused(tz):
    with pytest.raises(InvalidSchedule, match="tz= must be a time zone"):
        zone_name(tz)


def test_the_zone_that_was_meant_is_named():
    with pytest.raises(InvalidSchedule, match=r"\(did you mean 'Europe/Berlin'\?\)"):
        zone_name("Europe/Berlni")


# --- fixed intervals ------------------------------------------------------------------------------------------------


def test_an_interval_begins_one_interval_from_now_or_now():
    moment = at("2026-06-01T12:00")
    assert Every(60).first_after(moment) == moment + timedelta(seconds=60)
    assert Every(60, start_now=True).first_after(moment) == moment


@pytest.mark.parametrize("seconds", [0.1, 1, 7, 60, 86400, 0.3, 1 / 3])
def test_an_interval_does_not_drift(seconds):
    # Given
    every, start = Every(seconds), at("2026-06-01T12:00")

    # When
    moment = start
    for _ in range(10_000):
        moment = every.next_after(moment)

    # Then the only error is that a moment is stored in whole microseconds
    assert abs((moment - start).total_seconds() - 10_000 * seconds) <= 10_000 * 0.5e-6


@given(
    st.floats(0.1, 1e6),
    st.integers(0, 5000),
    st.floats(0, 0.999),
)
def test_the_moments_that_were_due_of_an_interval_are_on_its_grid(seconds, count, rest):
    # Given
    every, start = Every(seconds), at("2026-06-01T12:00")
    interval = timedelta(seconds=seconds)

    # When
    due = every.due_until(start, start + count * interval + rest * interval, 3)

    # Then
    assert due == [start + number * interval for number in range(max(0, count - 2), count + 1)]
    assert every.next_after(due[-1]) == start + (count + 1) * interval


# --- in words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timetable", "words"),
    [
        (from_crontab("15,30 7 * * *", "UTC"), "At 07:15 and 07:30 every day"),
        (from_cron("0 6 L * *", "UTC"), "At 06:00 on the last day of every month"),
        (from_cron("@weekly", "UTC"), "At 00:00 on Sunday"),
        (from_cron("0 6 31 * *", "UTC"), "At 06:00 on the 31st day of every month"),
        (from_cron("0 6 11,12,22 * *", "UTC"), "At 06:00 on the 11th, the 12th, and the 22nd day of month"),
        (from_cron("*/23 * * * *", "UTC"), "Every 23rd minute of every hour"),
        (from_cron("*/13 * * * *", "UTC"), "Every 13th minute of every hour"),
        (numbers(minutes=0, hours=range(8, 18)), "At minute 0 past every hour from 8 through 17"),
        (Every(1), "Every second"),
        (Every(0.5), "Every 0.5 seconds"),
        (Every(90), "Every 90 seconds"),
        (Every(3600), "Every hour"),
        (Every(5400), "Every 90 minutes"),
        (Every(86400 * 7), "Every 7 days"),
    ],
    ids=lambda value: getattr(value, "spec", None),
)
def test_a_timetable_can_be_read(timetable, words):
    assert timetable.in_words() == words


# --- what makes a schedule start anew -------------------------------------------------------------------------------


def test_different_timetables_have_different_texts():
    specs = [
        Every(60).spec,
        Every(60, start_now=True).spec,
        Every(61).spec,
        Every(86400.5).spec,
        Every(86400.25).spec,
        Every(1_000_000.0).spec,
        Every(1_000_001.0).spec,
        from_crontab("* * * * *", "UTC").spec,
        from_crontab("* * * * *", BERLIN).spec,
        from_crontab("0 * * * *", "UTC").spec,
    ]
    assert len(set(specs)) == len(specs)


def test_the_same_timetable_has_the_same_text_however_it_is_written():
    assert (
        from_crontab("0 7 * * *", "UTC").spec == numbers(minutes=0, hours=7).spec == from_cron("0 7 * * *", "UTC").spec
    )


# --- at the decorators ----------------------------------------------------------------------------------------------


def noop():
    return None


def test_the_zone_of_the_site_is_the_default(settings):
    settings.TIME_ZONE = LORD_HOWE
    assert cron_task(hours=7)(noop).schedule == Crontab("* 7 * * *", LORD_HOWE)


def test_crontab_wins_over_all_other_fields():
    task = cron_task(minutes=99, hours="nonsense", crontab="0 7 * * *", tz="UTC")(noop)
    assert task.schedule == Crontab("0 7 * * *", "UTC")


def test_both_notations_together_are_refused():
    with pytest.raises(ConflictingOptions, match="got both 'crontab' and 'cron'"):
        cron_task(crontab="* * * * *", cron="* * * * *")(noop)


@pytest.mark.parametrize("field", ["minutes", "hours", "dow", "months", "dom"])
@pytest.mark.parametrize("numbers", [0, 7, [1, 2]])
def test_numbers_beside_the_notation_of_cron_are_refused(field, numbers):
    with pytest.raises(ConflictingOptions, match=f"noop got both '{field}' and 'cron': give one of them"):
        cron_task(cron="0 6 * * *", **{field: numbers})(noop)


def test_the_text_of_a_crontab_line_in_the_place_of_the_minutes_is_answered_with_its_option():
    with pytest.raises(InvalidSchedule, match=r"for that write cron=\"0 6 \* \* mon-fri\"\."):
        cron_task("0 6 * * mon-fri")(noop)


def test_the_fields_may_be_given_by_position():
    task = cron_task([0], [9], [0], [4, 7], range(10, 16), tz="UTC")(noop)
    assert task.schedule == Crontab("0 9 10-15 4,7 1", "UTC")


def test_an_interval_may_be_a_timedelta():
    assert periodic_task(timedelta(minutes=5), start_now=True)(noop).schedule == Every(300.0, True)


@pytest.mark.parametrize("text", [5, None, b"* * * * *", ["*"] * 5])
def test_what_is_no_text_is_refused_as_a_crontab(text):
    if text is None:
        assert cron_task(crontab=None, tz="UTC")(noop).schedule == Crontab("* * * * *", "UTC")
        return
    for name in ("crontab", "cron"):
        with pytest.raises((TypeError, ValueError), match="schedule|option"):
            cron_task(**{name: text})(noop)


# --- what else a decorator may say, and what it makes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, Policy("once", "skip", 0.0)),
        ({"misfire": "skip"}, Policy("skip", "skip", 0.0)),
        ({"misfire": "all"}, Policy("all", "queue", 0.0)),
        ({"misfire": "all", "overlap": "allow"}, Policy("all", "allow", 0.0)),
        ({"overlap": "queue", "jitter": timedelta(minutes=1)}, Policy("once", "queue", 60.0)),
    ],
)
def test_both_decorators_take_what_is_done_with_late_and_early_ticks(given, policy):
    assert periodic_task(60, **given)(noop).policy == policy
    assert cron_task(hours=3, **given)(noop).policy == policy


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"misfire": "twice"}, 'must be "once" or "skip" or "all", but is \'twice\''),
        ({"overlap": "replace"}, 'must be "skip" or "queue" or "allow", but is \'replace\''),
        ({"misfire": None}, 'must be "once" or "skip" or "all"'),
        ({"jitter": -1}, "must be from 0 seconds to a century"),
        ({"misfire": "all", "overlap": "skip"}, "got both 'misfire=\"all\"' and 'overlap=\"skip\"'"),
        ({"misfires": "all"}, "got an unknown option 'misfires'"),
    ],
)
def test_what_is_nonsense_is_refused_where_it_is_written(given, message):
    for decorator in (periodic_task, cron_task):
        with pytest.raises((TypeError, ValueError)) as caught:
            decorator(**given)(noop)
        assert message in str(caught.value)


def test_the_usual_options_are_those_of_the_tasks_of_the_ticks():
    task = periodic_task(60, queue="night", priority=5, retries=2, timeout=9, expires=30, ttl=7)(noop)
    kind = task.tick_task(at("2026-06-01T12:00")).kind
    assert (kind.queue, kind.priority, kind.retries, kind.timeout, kind.expires) == ("night", 5, 2, 9.0, 30.0)
    assert (kind.schedule, kind.scheduled_for) == (task.name, at("2026-06-01T12:00"))


def double(number: int = 2) -> int:
    """Return twice the number."""
    return 2 * number


def test_a_scheduled_function_can_be_called_by_hand_and_keeps_its_signature_and_its_text():
    for decorate in (periodic_task(60), cron_task(hours=3, tz="UTC")):
        task = decorate(double)
        assert (task(), task(5), task(number=6)) == (4, 10, 12)
        assert inspect.signature(task) == inspect.signature(double)
        assert (task.__name__, task.__doc__, task.__module__) == ("double", double.__doc__, __name__)


def test_a_scheduled_coroutine_function_can_be_called_by_hand():
    async def later():
        return 7

    assert asyncio.run(periodic_task(60, name="later")(later)()) == 7


def test_a_scheduled_function_shows_its_next_runs():
    task = cron_task(cron="30 7 * * mon-fri", tz="UTC")(noop)
    assert task.schedule.upcoming(2, after=at("2026-06-05T12:00")) == [at("2026-06-08T07:30"), at("2026-06-09T07:30")]


def test_several_decorators_on_one_function_make_several_schedules():
    first = periodic_task(60, name="first")(noop)
    second = cron_task(hours=3, name="second", tz="UTC")(first)
    assert (first.name, first.schedule.spec) == ("first", "every 60 s")
    assert second.name == "second"
    assert second.function is first.function is noop
    assert set(registry.schedules()) >= {"first", "second"}
