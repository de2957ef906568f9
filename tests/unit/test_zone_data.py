"""Data of time zones: which one is in use, which one counts for zones of pytz, and what newer data would change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import pytz

from autotask.schedules import clocks, zone_data
from autotask.schedules.crontab import from_cron
from autotask.schedules.pytz_zones import PytzZone
from autotask.schedules.zone_data import PYTZ, ZoneData
from tests import zones

BERLIN = "Europe/Berlin"
NOON = "0 12 * * *"
JULY = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture
def berlin_at_five(tmp_path):
    """Make data of some version, by which Berlin is five hours ahead of UTC all year."""
    with zones.looked_for_in():

        def make(version):
            folder = str(zones.write(tmp_path / version, version, Europe__Berlin="<+05>-5"))
            zones.look_in(folder)
            return folder

        yield make


def hour_in_utc(tz):
    return from_cron(NOON, tz).next_after(JULY).hour


def test_a_zone_of_pytz_keeps_its_own_rules_where_they_are_newer_than_those_of_the_system(berlin_at_five):
    folder = berlin_at_five("1999a")
    assert hour_in_utc(pytz.timezone(BERLIN)) == 12 - 2
    assert hour_in_utc(BERLIN) == hour_in_utc(ZoneInfo(BERLIN)) == 12 - 5
    assert zone_data.in_use(from_cron(NOON, pytz.timezone(BERLIN)).zone) == ZoneData(pytz.OLSON_VERSION, PYTZ)
    assert zone_data.in_use(from_cron(NOON, BERLIN).zone) == ZoneData("1999a", folder)


def test_a_zone_of_pytz_follows_the_system_where_that_is_newer(berlin_at_five):
    folder = berlin_at_five("9999a")
    assert hour_in_utc(pytz.timezone(BERLIN)) == 12 - 5
    assert zone_data.in_use(from_cron(NOON, pytz.timezone(BERLIN)).zone) == ZoneData("9999a", folder)


def test_both_kinds_of_a_zone_make_the_same_schedule(berlin_at_five):
    berlin_at_five("1999a")
    ours, theirs = from_cron(NOON, BERLIN), from_cron(NOON, pytz.timezone(BERLIN))
    assert (ours.spec, ours.tz) == (theirs.spec, theirs.tz)


def test_the_version_is_unknown_where_nothing_tells_it(berlin_at_five, tmp_path):
    folder = berlin_at_five("1999a")
    (tmp_path / "1999a" / "tzdata.zi").unlink()
    zones.look_in(folder)
    assert str(zone_data.in_use(ZoneInfo(BERLIN))) == f"unknown version of {folder}"
    assert zone_data.newer(ZoneInfo(BERLIN), JULY) is None
    (tmp_path / "1999a" / "+VERSION").write_text("2020b\n")
    zones.look_in(folder)
    assert zone_data.in_use(ZoneInfo(BERLIN)).version == "2020b"


def test_a_process_that_goes_on_while_other_data_is_installed_tells_what_it_uses(berlin_at_five, tmp_path):
    folder = berlin_at_five("1999a")
    timetable = from_cron(NOON, BERLIN)
    (tmp_path / "1999a" / "tzdata.zi").write_text("# version 1999b\n")
    assert zone_data.in_use(timetable.zone) == ZoneData("1999a", folder)


def test_newer_rules_that_are_installed_are_told_if_they_differ_within_a_year(tmp_path):
    # Given
    old = zones.write(tmp_path / "old", "9998a", Europe__Berlin="CET-1", Europe__Paris="CET-1")
    new = zones.write(tmp_path / "new", "9999b", Europe__Berlin="CET-1CEST,M10.1.0,M12.1.0", Europe__Paris="CET-1")
    with zones.looked_for_in(old, new):
        # When
        newer = zone_data.newer(ZoneInfo(BERLIN), JULY)

        # Then
        assert newer is not None
        assert (newer.key, newer.data, newer.since) == (
            BERLIN,
            ZoneData("9999b", str(new)),
            datetime(2026, 10, 4, 1, tzinfo=UTC),
        )
        assert str(newer) == f"Europe/Berlin has other rules in 9999b of {new}, from 2026-10-04 on"
        assert f"PYTHONTZPATH={new}" in zone_data.advice(newer)
        assert zone_data.newer(ZoneInfo("Europe/Paris"), JULY) is None
    with zones.looked_for_in(new, old):
        assert zone_data.newer(ZoneInfo(BERLIN), JULY) is None


def test_newer_rules_of_a_package_are_told_with_how_to_use_them(berlin_at_five):
    berlin_at_five("1999a")
    newer = zone_data.newer(ZoneInfo(BERLIN), JULY)
    assert newer is not None and newer.since == JULY and newer.data.source in (zone_data.TZDATA, PYTZ)
    assert "PYTHONTZPATH= (empty)" in zone_data.advice(newer)


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
def test_a_zone_of_pytz_answers_as_others_do_around_each_change_of_the_clock(name):
    # Given: a year whose rules are the same in all data that is still around
    ours, theirs = PytzZone(pytz.timezone(name)), ZoneInfo(name)
    year, end = datetime(2019, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
    change, moments = clocks.next_change(theirs, year, end), [year]
    while change is not None:
        moments += [change.at + timedelta(minutes=30 * steps) for steps in range(-8, 8)]
        change = clocks.next_change(theirs, change.at, end)

    # Then
    for moment in moments:
        here, there = moment.astimezone(ours), moment.astimezone(theirs)
        assert (here.replace(tzinfo=None), here.fold) == (there.replace(tzinfo=None), there.fold)
        for wall in (there.replace(tzinfo=None, fold=fold) for fold in (0, 1)):
            assert (ours.utcoffset(wall), ours.tzname(wall)) == (theirs.utcoffset(wall), theirs.tzname(wall)), wall
