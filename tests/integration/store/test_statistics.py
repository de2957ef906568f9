"""The tables of statistics: rows of minutes, hours and all times, how they are read, and when they go."""

from datetime import UTC, datetime, timedelta

import pytest

from autotask.statistics import BUCKETS, Counts, bucket, quantile
from autotask.store import statistics
from autotask.store.connection import current, execute, rows
from autotask.store.statistics import EVER, HOUR, MINUTE, Key, Of

pytestmark = pytest.mark.django_db(transaction=True)

START = datetime(2026, 11, 29, 11, 58, tzinfo=UTC)


def counts(number, seconds=0.1):
    histogram = [0] * BUCKETS
    histogram[bucket(seconds)] = number
    return Counts(
        started=number, succeeded=number, waited=seconds * number, ran=0.0, waiting=histogram, running=histogram
    )


def add(minute, name, number, queue="default", seconds=0.1):
    at = int((START + timedelta(minutes=minute)).timestamp())
    return statistics.add(current(), {Key(at, name, queue): counts(number, seconds)})


def in_rows():
    found = rows(
        current(), "SELECT period, name, sum(started)::int FROM autotask_statistics GROUP BY 1, 2 ORDER BY 1, 2"
    )
    return {(period, name): number for period, name, number in found}


def test_counts_go_to_their_minute_their_hour_and_all_times():
    # When
    add(0, "shop.a", 3)
    add(1, "shop.a", 4)
    add(2, "shop.a", 5)
    add(2, "shop.b", 1)
    # Then
    assert rows(current(), "SELECT period, count(*) FROM autotask_statistics GROUP BY 1 ORDER BY 1") == [
        (EVER, 2),
        (MINUTE, 4),
        (HOUR, 3),
    ]
    sums = {"shop.a": 12, "shop.b": 1}
    assert in_rows() == {(period, name): sums[name] for period in (EVER, MINUTE, HOUR) for name in sums}


def test_the_clock_of_the_database_comes_with_each_write():
    assert abs(add(0, "shop.a", 1) - statistics.add(current(), {})) < 10


def test_a_timeline_has_a_point_for_each_step_and_a_series_for_each_kind():
    # Given
    add(0, "shop.a", 3)
    add(2, "shop.a", 5)
    add(2, "shop.b", 1, queue="slow")
    # When
    seen = statistics.timeline(current(), START, START + timedelta(minutes=4), by="both")
    # Then
    assert (seen.start, seen.step) == (START, MINUTE)
    assert {of: [point.succeeded for point in points] for of, points in seen.series.items()} == {
        Of("shop.a", "default"): [3, 0, 5, 0],
        Of("shop.b", "slow"): [0, 0, 1, 0],
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {Of(): [8, 1]}),
        ({"by": "queue"}, {Of(queue="default"): [8, 0], Of(queue="slow"): [0, 1]}),
        ({"by": "name", "queue": "slow"}, {Of("shop.b"): [0, 1]}),
        ({"name": "shop.c"}, {Of(): [0, 0]}),
        ({"name": "shop.c", "by": "name"}, {}),
    ],
)
def test_a_timeline_of_hours_is_read_from_the_rows_of_hours(given, expected):
    add(0, "shop.a", 3)
    add(1, "shop.a", 5)
    add(2, "shop.b", 1, queue="slow")
    execute(current(), "DELETE FROM autotask_statistics WHERE period = 60")
    seen = statistics.timeline(current(), START, START + timedelta(hours=1), step=HOUR, **given)
    assert {of: [point.started for point in points] for of, points in seen.series.items()} == expected


def test_histograms_are_added_bucket_by_bucket():
    # Given
    add(0, "shop.a", 90, seconds=0.1)
    add(0, "shop.a", 10, seconds=60)
    add(1, "shop.a", 1, seconds=0.0)
    # When
    seen = statistics.totals(current(), START, START + timedelta(minutes=5))[Of("shop.a")]
    # Then
    assert (seen.started, sum(seen.waiting), seen.waiting[bucket(60)]) == (101, 101, 10)
    assert 0.07 < quantile(seen.waiting, 0.5) < 0.15
    assert 42 < quantile(seen.waiting, 0.95) < 85
    assert seen.waited == pytest.approx(609)


@pytest.mark.parametrize(
    ("since", "until", "number"),
    [
        (START, START + timedelta(minutes=1), 3),
        (START - timedelta(hours=5), START + timedelta(minutes=1), 3),
        (START + timedelta(minutes=1), START + timedelta(minutes=4), 5),
        (START - timedelta(hours=5), START + timedelta(hours=1), 8),
        (None, None, 8),
    ],
)
def test_totals_are_those_of_a_range(since, until, number):
    add(0, "shop.a", 3)
    add(2, "shop.a", 5)
    assert statistics.totals(current(), since, until)[Of("shop.a")].succeeded == number


def test_a_range_without_an_end_lasts_until_now():
    # Given
    now = datetime.now(UTC)
    for age, number in ((30, 3), (10, 5)):
        at = int((now - timedelta(minutes=age)).timestamp())
        statistics.add(current(), {Key(at, "shop.a", "default"): counts(number)})
    # When
    found = statistics.totals(current(), now - timedelta(minutes=20))
    # Then
    assert found[Of("shop.a")].succeeded == 5


def test_attempts_of_many_workers_at_once_are_all_counted(in_threads):
    # Given
    at = int(START.timestamp())
    names = [f"shop.{number}" for number in range(20)]

    def work(connection, number):
        for turn in range(5):
            mixed = names[number:] + names[:number] if turn % 2 else list(reversed(names))
            statistics.add(connection, {Key(at + 60 * (turn % 2), name, "default"): counts(1) for name in mixed})

    # When
    in_threads(work, 8)
    # Then
    assert {of.name: each.started for of, each in statistics.totals(current()).items()} == dict.fromkeys(names, 40)


def test_minutes_are_kept_for_two_days_hours_for_thirty_and_sums_for_ever():
    # Given
    for days in (31, 29, 3, 1):
        at = int((datetime.now(UTC) - timedelta(days=days)).timestamp()) // 60 * 60
        statistics.add(current(), {Key(at, "shop.a", "default"): counts(1)})
    # When
    assert not statistics.prune(current())
    # Then
    assert in_rows() == {(EVER, "shop.a"): 4, (MINUTE, "shop.a"): 1, (HOUR, "shop.a"): 3}


def test_old_rows_go_in_pieces(monkeypatch):
    monkeypatch.setattr(statistics, "PIECE", 10)
    old = int((datetime.now(UTC) - timedelta(days=3)).timestamp()) // 60 * 60
    statistics.add(current(), {Key(old - 60 * minute, "shop.a", "default"): counts(1) for minute in range(25)})
    assert [statistics.prune(current()) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("hours", "step"), [(1, 60), (6, 300), (24, 900), (7 * 24, 3600), (30 * 24, 4 * 3600)])
def test_a_step_gives_about_a_hundred_points(hours, step):
    assert statistics.step_for(hours * 3600) == step
    assert 24 <= hours * 3600 / step <= 180


def test_unused_sums_are_deleted_only_where_there_are_very_many(monkeypatch):
    # Given
    now = int(datetime.now(UTC).timestamp()) // 60 * 60
    unused, used = Key(now - 40 * 86400, "shop.a", "customer-1"), Key(now, "shop.a", "customer-2")
    statistics.add(current(), {unused: counts(1), used: counts(1)})
    assert not statistics.prune(current())
    assert {of.queue for of in statistics.totals(current(), by="queue")} == {"customer-1", "customer-2"}

    # When
    monkeypatch.setattr(statistics, "MOST_SUMS", 1)
    assert not statistics.prune(current())

    # Then
    assert {of.queue for of in statistics.totals(current(), by="queue")} == {"customer-2"}
