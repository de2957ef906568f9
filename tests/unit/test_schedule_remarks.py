"""What people are told of changes of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from autotask.schedules.crontab import from_cron
from autotask.schedules.remarks import remarks

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "tz", "told"),
    [
        (
            "30 2 * * *",
            "Europe/Berlin",
            [
                (
                    "2026-03-29T03:00+02:00",
                    "02:30 of 2026-03-29 does not exist, as the clock goes forward: due at 03:00 instead",
                ),
                (
                    "2026-10-25T02:30+02:00",
                    "02:30 of 2026-10-25 comes twice, as the clock goes back: due the first time only",
                ),
            ],
        ),
        (
            "*/30 2 * * *",
            "Europe/Berlin",
            [
                (
                    "2026-03-30T02:00+02:00",
                    "02:00, 02:30 of 2026-03-29 does not exist, as the clock goes forward to 03:00: left out",
                ),
                (
                    "2026-10-25T02:00+01:00",
                    "02:00, 02:30 of 2026-10-25 comes twice, as the clock goes back: due both times",
                ),
            ],
        ),
        (
            "15,45 2 * * *",
            "Australia/Lord_Howe",
            [
                (
                    "2026-10-04T02:30+11:00",
                    "02:15 of 2026-10-04 does not exist, as the clock goes forward: due at 02:30 instead",
                ),
            ],
        ),
        (
            "* 1 * * *",
            "Australia/Lord_Howe",
            [
                (
                    "2026-04-05T01:30+10:30",
                    "01:30, 01:31, … 01:59 of 2026-04-05 comes twice, as the clock goes back: due both times",
                ),
            ],
        ),
        ("0 5 * * *", "Europe/Berlin", []),
        ("30 2 * * *", "UTC", []),
        ("30 2 30 * *", "Europe/Berlin", []),
    ],
)
def test_what_a_change_of_the_clock_means_is_told_with_the_moment_it_concerns(text, tz, told):
    # Given
    timetable = from_cron(text, tz)

    # When
    found = remarks(timetable, START, END)

    # Then
    assert [
        (remark.tick.astimezone(ZoneInfo(tz)).isoformat(timespec="minutes"), str(remark)) for remark in found
    ] == told
    # And each belongs to a moment that is due
    assert all(timetable.next_after(remark.tick - timedelta(minutes=1)) == remark.tick for remark in found)


def test_only_changes_between_the_two_moments_are_told_of():
    timetable = from_cron("30 2 * * *", "Europe/Berlin")
    assert len(remarks(timetable, START, datetime(2026, 3, 29, 0, 59, tzinfo=UTC))) == 0
    assert len(remarks(timetable, START, datetime(2026, 3, 29, 1, 0, tzinfo=UTC))) == 1
    assert len(remarks(timetable, datetime(2026, 3, 29, 1, 0, tzinfo=UTC), END)) == 1
