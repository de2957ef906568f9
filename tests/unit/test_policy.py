"""What becomes of ticks that are late, or come too soon after one another."""

from datetime import UTC, datetime, timedelta

import pytest

from autotask.schedules.policy import MOST, Policy

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ago(*seconds):
    return [NOW - timedelta(seconds=each) for each in seconds]


TEN_MINUTES = ago(*range(630, 0, -60))  # the last of them half a minute ago


@pytest.mark.parametrize(("misfire", "expected"), [("skip", []), ("once", TEN_MINUTES[-1:]), ("all", TEN_MINUTES)])
def test_ten_missed_minutes_are_made_up_for_by_none_by_one_or_by_all(misfire, expected):
    assert Policy(misfire=misfire).made_up(TEN_MINUTES, NOW) == expected


@pytest.mark.parametrize("misfire", ["skip", "once", "all"])
def test_ticks_that_are_a_few_seconds_late_were_not_missed(misfire):
    assert Policy(misfire=misfire).made_up(ago(3, 2, 1), NOW) == ago(3, 2, 1)


@pytest.mark.parametrize("misfire", ["skip", "once"])
def test_a_tick_in_time_makes_up_for_those_that_were_missed(misfire):
    assert Policy(misfire=misfire).made_up(ago(125, 65, 5), NOW) == ago(5)


@pytest.mark.parametrize("misfire", ["skip", "once"])
@pytest.mark.parametrize("step", [0.1, 1])
def test_after_ten_minutes_without_one_a_schedule_of_seconds_has_one_task(misfire, step):
    due = ago(*(600 - step * number for number in range(int(600 / step))))[-MOST:]
    assert Policy(misfire=misfire).made_up(due, NOW) == due[-1:]


def test_what_was_missed_by_more_than_an_hour_is_made_up_for_only_if_all_is():
    assert Policy(misfire="once").made_up(ago(3599), NOW) == ago(3599)
    assert Policy(misfire="once").made_up(ago(3601), NOW) == []
    assert Policy(misfire="all").made_up(ago(86400, 3601), NOW) == ago(86400, 3601)


def test_nothing_is_made_of_nothing():
    for misfire in ("skip", "once", "all"):
        assert Policy(misfire=misfire).made_up([], NOW) == []
    for overlap in ("skip", "queue", "allow"):
        assert Policy(overlap=overlap).choose([], [], False) == ([], [])


@pytest.mark.parametrize(
    ("overlap", "held", "ticks", "busy", "begin", "hold"),
    [
        ("skip", (), (1,), False, (1,), ()),
        ("skip", (), (1,), True, (), ()),
        ("skip", (), (2, 1), False, (1,), ()),
        ("skip", (9,), (), False, (9,), ()),  # held while the code said "queue"
        ("allow", (), (2, 1), True, (2, 1), ()),
        ("allow", (9,), (1,), True, (9, 1), ()),
        ("queue", (), (1,), False, (1,), ()),
        ("queue", (), (1,), True, (), (1,)),
        ("queue", (), (3, 2, 1), False, (3,), (2, 1)),
        ("queue", (9, 8), (1,), True, (), (9, 8, 1)),
        ("queue", (9, 8), (), False, (9,), (8,)),
    ],
)
def test_what_overlaps_is_left_out_or_waits_or_does_not_matter(overlap, held, ticks, busy, begin, hold):
    assert Policy(overlap=overlap).choose(ago(*held), ago(*ticks), busy) == (ago(*begin), ago(*hold))


def test_no_more_than_a_hundred_ticks_wait_the_latest_of_them():
    held = ago(*range(200, 100, -1))
    assert len(held) == MOST
    assert Policy(overlap="queue").choose(held, ago(2, 1), busy=True).held == held[2:] + ago(2, 1)
