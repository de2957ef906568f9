"""Where a worker looks for work: larger priorities first, queues in turns, nobody forgotten."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from autotask.store.claim import BoundedLane, Lane
from autotask.task import ClaimedTask, new_id
from autotask.worker import lanes as lanes_module
from autotask.worker.bounds import SLACK, SLACK_EVERY, UNBOUNDED_EVERY
from autotask.worker.lanes import (
    LOOK_ANYWAY,
    LOOK_EVERY,
    LOOK_SHARE,
    MOST_LANES,
    Lanes,
    LookTimes,
)

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch):
    """Set the monotonic clock."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(lanes_module.time, "monotonic", lambda: Clock.now)
    return Clock


def knowing(*lanes, serves=lambda queue: True):
    known = Lanes(serves)
    known.found([Lane(*lane) for lane in lanes])
    return known


def claimed(queue, ready_at, priority=0):
    return ClaimedTask(
        id=new_id(),
        fence=1,
        name="x",
        queue=queue,
        priority=priority,
        attempt=1,
        failures=0,
        lost=0,
        retries=0,
        unknown_for=None,
        ready_at=ready_at,
        scheduled_for=None,
        payload=b"",
    )


def order(known, **kwargs):
    return [(bounded.lane.queue, bounded.lane.priority) for bounded in known.in_order(**kwargs)]


def test_at_first_nothing_is_known():
    known = Lanes(lambda queue: True)
    assert not known
    assert not known.busy


def test_only_served_queues_are_known():
    known = knowing(("mail", 0), ("video", 0), serves=lambda queue: queue == "mail")
    assert order(known) == [("mail", 0)]
    assert known.busy


def test_only_lanes_of_a_claim_that_got_all_it_wanted_are_sure_to_have_more():
    # Given
    known = knowing(("mail", 0), ("video", 0))
    known.in_order()
    assert known.sure == ()

    # When, then
    known.claimed([claimed("mail", NOON)], full=True)
    assert known.sure == (Lane("mail", 0),)
    known.in_order()
    known.claimed([claimed("mail", NOON)])
    assert known.sure == ()


def test_a_look_that_finds_only_lanes_of_others_finds_nothing():
    known = knowing(("video", 0), serves=lambda queue: queue == "mail")
    assert not known
    assert not known.busy


def test_larger_priorities_come_first_whatever_the_queue():
    known = knowing(("a", -5), ("a", 0), ("b", 100), ("c", 3))
    for _ in range(10):
        assert order(known) == [("b", 100), ("c", 3), ("a", 0), ("a", -5)]


def test_queues_of_equal_priority_take_turns_at_being_first():
    known = knowing(("a", 0), ("b", 0), ("c", 0), ("top", 1))
    firsts = [order(known)[1] for _ in range(30)]
    assert {firsts.count(first) for first in firsts} == {10}


def test_lanes_that_were_busy_before_stay_known_but_do_not_count_as_busy():
    known = knowing(("a", 0))
    known.found([Lane("b", 0)])
    assert sorted(order(known)) == [("a", 0), ("b", 0)]
    known.found([])
    assert known
    assert not known.busy


def test_a_limited_number_is_remembered():
    known = Lanes(lambda queue: True)
    for number in range(3 * MOST_LANES):
        known.found([Lane(f"q{number}", 0)])
    assert len(order(known)) == MOST_LANES
    assert (f"q{3 * MOST_LANES - 1}", 0) in order(known)


def test_with_very_many_lanes_the_largest_priority_is_looked_at_wherever_it_is_in_the_alphabet():
    # Given the lanes in the order in which the index holds them
    known = knowing(*[(f"a{number:04}", 0) for number in range(2 * MOST_LANES)], ("z", 50))

    # When, then
    for _ in range(5):
        found = order(known)
        assert len(found) == MOST_LANES
        assert found[0] == ("z", 50)


def test_with_very_many_lanes_each_of_them_is_looked_at_in_its_turn():
    lanes = {(f"a{number:04}", 0) for number in range(3 * MOST_LANES)}
    known = knowing(*sorted(lanes))
    seen = set()
    for _ in range(3 * MOST_LANES):
        seen.update(order(known))
        known.found([Lane(*lane) for lane in sorted(lanes)])
    assert seen == lanes


def test_remembered_lanes_do_not_push_out_busy_ones():
    known = knowing(*[(f"old{number:04}", 100) for number in range(MOST_LANES)])
    known.found([Lane("new", -100)])
    assert ("new", -100) in order(known)


# --- lower bounds ---------------------------------------------------------------------------------------------------


def test_the_first_look_has_no_lower_bound(clock):
    known = knowing(("a", 0))
    known.claimed([claimed("a", NOON)])
    assert known.in_order() == [BoundedLane(Lane("a", 0), None)]


def test_the_lower_bound_is_the_last_claimed_task(clock):
    known = knowing(("a", 0), ("b", 0))
    known.in_order()
    known.claimed([claimed("a", NOON - timedelta(seconds=1)), last := claimed("a", NOON)])
    assert sorted(known.in_order(), key=str) == [
        BoundedLane(Lane("a", 0), NOON, last.id),
        BoundedLane(Lane("b", 0), None),
    ]


def test_each_second_the_lower_bound_lies_a_little_before_the_last_claimed_task(clock):
    # Given
    known = knowing(("a", 0))
    known.in_order()
    known.claimed([claimed("a", NOON)])

    # When, then
    for _ in range(3):
        clock.now += SLACK_EVERY - 0.1
        assert known.in_order()[0].since == NOON
        clock.now += 0.1
        assert known.in_order() == [BoundedLane(Lane("a", 0), NOON - SLACK)]


def test_a_lower_bound_never_falls(clock):
    known = knowing(("a", 0))
    known.in_order()
    first, last = claimed("a", NOON), claimed("a", NOON)
    known.claimed([last])
    known.claimed([claimed("a", NOON - timedelta(hours=1))])
    known.claimed([first])
    assert known.in_order() == [BoundedLane(Lane("a", 0), NOON, last.id)]


def test_the_priorities_of_a_queue_have_bounds_of_their_own(clock):
    known = knowing(("a", 0), ("a", 1))
    known.in_order()
    known.claimed([last := claimed("a", NOON, priority=1)])
    assert known.in_order() == [BoundedLane(Lane("a", 1), NOON, last.id), BoundedLane(Lane("a", 0), None)]


def test_everything_is_looked_at_once_in_a_while(clock):
    # Given
    known = knowing(("a", 0))
    known.in_order()
    known.claimed([claimed("a", NOON)])

    # When, then
    for _ in range(3):
        clock.now += UNBOUNDED_EVERY - 0.1
        assert known.in_order()[0].since == NOON - SLACK
        clock.now += 0.1
        assert known.in_order()[0].since is None


def test_a_look_at_everything_on_demand_counts_as_one(clock):
    known = knowing(("a", 0))
    known.in_order()
    known.claimed([claimed("a", NOON)])
    clock.now += UNBOUNDED_EVERY - 0.1
    assert known.in_order(unbounded=True)[0].since is None
    clock.now += 0.2
    assert known.in_order()[0].since == NOON


# --- shares ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lanes", "limit", "share"),
    [
        ([("a", 0)], 10, 10),
        ([("a", 0), ("b", 0)], 10, 5),
        ([("a", 0), ("b", 0)], 11, 6),
        ([("a", 0), ("b", 0), ("c", 0)], 1, 1),
        ([("a", 0), ("a", 1)], 10, 10),
        ([("a", 0), ("b", 0), ("c", 1)], 10, 5),
        ([], 10, 10),
    ],
)
def test_queues_of_equal_priority_share_a_batch(lanes, limit, share):
    assert knowing(*lanes).share(limit) == share


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-3, 3)), unique=True), st.integers(1, 100))
def test_shares_always_fill_a_batch_if_all_of_the_widest_priority_give_theirs(lanes, limit):
    share = knowing(*lanes).share(limit)
    widest = max((sum(1 for _, p in lanes if p == priority) for _, priority in lanes), default=1)
    assert 1 <= share <= limit
    assert share * widest >= limit


# --- when to look for others ----------------------------------------------------------------------------------------


def test_where_looking_is_dear_it_takes_a_small_share_of_the_time():
    looks = LookTimes()
    looks.took(10.0, 10.1)
    looks.took(11.0, 11.1)
    assert looks.next_at(notified=True) == pytest.approx(11.1 + LOOK_SHARE * 0.1)


@pytest.mark.parametrize("waited", [0.1, 1.0, 30.0])
def test_one_look_that_had_to_wait_for_something_does_not_put_off_the_next_one(waited):
    # Given
    looks = LookTimes()
    looks.took(10.0, 10.001)

    # When, then
    looks.took(11.0, 11.0 + waited)
    assert looks.next_at(notified=True) == 11.0 + waited + LOOK_EVERY
    looks.took(50.0, 50.001)
    assert looks.next_at(notified=True) == 50.001 + LOOK_EVERY


def test_without_a_notification_the_look_comes_a_little_later():
    looks = LookTimes()
    looks.took(10.0, 10.001)
    assert looks.next_at(notified=False) == looks.next_at(notified=True) + LOOK_ANYWAY
