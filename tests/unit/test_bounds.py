"""The lower bounds of lanes, which workers that are forks of one process share."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from autotask.store.claim import BoundedLane, Lane
from autotask.task import new_id
from autotask.worker import bounds as bounds_module
from autotask.worker.bounds import SLACK, SLACK_EVERY, UNBOUNDED_EVERY, Bounds
from autotask.worker.lanes import MOST_LANES, Lanes
from autotask.worker.shared import Shared
from tests.unit.test_lanes import claimed, clock  # noqa: F401 - a fixture

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
LANE = Lane("a", 0)


@pytest.fixture
def two():
    """Return the lanes of two workers that share their bounds."""
    memory = bounds_module.MEMORY.new()
    workers = [Lanes(lambda queue: True, bounds=Bounds(memory)) for _ in range(2)]
    for each in workers:
        each.found([LANE])
    return workers


def since(lanes, **kwargs):
    return lanes.in_order(**kwargs)[0].since


def test_a_claim_begins_after_the_last_task_that_another_worker_has_claimed(two, clock):  # noqa: F811
    first, second = two
    first.in_order()
    first.claimed([last := claimed("a", NOON)])
    assert second.in_order() == [BoundedLane(LANE, NOON, last.id)]


def test_one_of_the_workers_searches_further_back_each_second_and_everything_every_ten(two, clock):  # noqa: F811
    # Given
    first, second = two
    first.in_order()
    first.claimed([claimed("a", NOON)])

    # When, then
    clock.now += SLACK_EVERY
    assert [since(second), since(first)] == [NOON - SLACK, NOON]
    clock.now += UNBOUNDED_EVERY
    assert [since(first), since(second)] == [None, NOON]


@pytest.mark.parametrize(("late", "kind"), [(timedelta(seconds=1), "slack"), (timedelta(hours=1), "everything")])
def test_a_search_that_finds_only_late_tasks_is_followed_by_another(two, clock, late, kind):  # noqa: F811
    # Given
    first, second = two
    first.in_order()
    first.claimed([claimed("a", NOON)])
    clock.now += SLACK_EVERY if kind == "slack" else UNBOUNDED_EVERY

    # When
    back = since(first)
    first.claimed([claimed("a", NOON - late)])

    # Then
    assert back == since(second) == (NOON - SLACK if kind == "slack" else None)
    second.claimed([claimed("a", NOON - late), last := claimed("a", NOON + late)])
    assert first.in_order() == [BoundedLane(LANE, NOON + late, last.id)]


def test_a_claim_that_ends_late_is_no_reason_to_search_further_back(two, clock):  # noqa: F811
    # Given two claims at the same time, of which the later one ends first
    first, second = two
    first.in_order()
    first.claimed([claimed("a", NOON)])
    first.in_order()
    second.in_order()
    second.claimed([last := claimed("a", NOON + timedelta(seconds=2))])

    # When
    first.claimed([claimed("a", NOON + timedelta(seconds=1))])

    # Then
    assert first.in_order() == second.in_order() == [BoundedLane(LANE, NOON + timedelta(seconds=2), last.id)]


def test_after_a_search_that_has_failed_another_worker_makes_it(two, clock):  # noqa: F811
    first, second = two
    first.in_order()
    first.claimed([claimed("a", NOON)])
    clock.now += SLACK_EVERY
    first.in_order()
    first.failed()
    assert since(second) is None


@pytest.mark.parametrize("kind", ["slack", "everything"])
def test_a_claim_that_is_full_before_it_comes_to_a_lane_is_no_search_of_it(two, clock, kind):  # noqa: F811
    # Given
    first, second = two
    urgent = Lane("urgent", 1)
    for each in two:
        each.found([urgent, LANE])
    first.in_order()
    first.claimed([claimed("urgent", NOON, priority=1), claimed("a", NOON)])
    clock.now += SLACK_EVERY if kind == "slack" else UNBOUNDED_EVERY

    # When
    first.in_order()
    first.claimed([claimed("urgent", NOON + timedelta(seconds=1), priority=1)], full=True)

    # Then
    assert [each.since for each in second.in_order()] == [
        NOON + timedelta(seconds=1),
        NOON - SLACK if kind == "slack" else None,
    ]


def test_a_claim_that_leaves_something_out_raises_no_bound_of_others(two, clock):  # noqa: F811
    # Given
    first, second = two
    first.in_order()
    first.claimed([last := claimed("a", NOON)])
    since(second, whole=False)

    # When
    second.claimed([claimed("a", NOON + timedelta(seconds=1))])

    # Then: nor is it a search for others
    assert first.in_order() == [BoundedLane(LANE, NOON, last.id)]
    clock.now += UNBOUNDED_EVERY
    assert [since(second, whole=False), since(first)] == [None, None]
    assert since(second) == NOON


def test_a_bound_that_two_have_written_at_a_time_is_none(clock):  # noqa: F811
    # Given
    memory = bounds_module.MEMORY.new()
    lanes = Lanes(lambda queue: True, bounds=Bounds(memory))
    lanes.found([LANE])
    lanes.in_order()
    lanes.claimed([claimed("a", NOON)])
    last = len(memory[:].rstrip(b"\0")) - 1

    # When
    memory[last - 10] ^= 1

    # Then
    assert since(lanes) is None


def test_the_bounds_of_as_many_lanes_as_one_claim_may_have_do_not_replace_each_other(clock):  # noqa: F811
    lanes, known = Lanes(lambda queue: True), [Lane(f"q{number}", 0) for number in range(MOST_LANES)]
    lanes.found(known)
    lanes.in_order()
    lanes.claimed([claimed(lane.queue, NOON) for lane in known])
    assert {each.since for each in lanes.in_order()} == {NOON}


def test_of_two_lanes_that_belong_in_the_same_place_one_is_searched_as_a_whole(clock, monkeypatch):  # noqa: F811
    monkeypatch.setattr(bounds_module, "_place", lambda lane: (lane.queue.encode().ljust(8), 0))
    known, lanes = Bounds(), [Lane("a", 0), Lane("b", 0)]
    for lane in lanes:
        known.begin(lane, clock.now, unbounded=True)
        known.reached(lane, (NOON, new_id()))
    assert [known.begin(lane, clock.now, unbounded=False)[0].since for lane in reversed(lanes)] == [NOON, None]


_FORKS = """
import os
from datetime import UTC, datetime
from autotask.store.claim import BEFORE_ALL, Lane
from autotask.worker import bounds

lane, noon = Lane("a", 0), datetime(2026, 7, 1, 12, tzinfo=UTC)
bounds.MEMORY.share()
for number in range(2):
    if not (pid := os.fork()):
        known = bounds.Bounds(bounds.MEMORY.of_worker())
        where, _ = known.begin(lane, 1000.0, unbounded=False)
        print(where.since and where.since.isoformat(), flush=True)
        known.reached(lane, (noon, BEFORE_ALL))
        os._exit(0)
    os.waitpid(pid, 0)
print(bounds.Bounds(bounds.MEMORY.of_worker()).begin(lane, 1000.0, unbounded=False)[0].since, flush=True)
"""


def test_forks_share_memory_and_their_parent_has_its_own():
    program = [sys.executable, "-c", _FORKS]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.split() == ["None", NOON.isoformat(), "None"]


def test_without_a_template_a_worker_shares_nothing():
    memory = Shared(bounds_module.PLACES)
    first, second = memory.of_worker(), memory.of_worker()
    first[0] = 1
    assert second[0] == 0
