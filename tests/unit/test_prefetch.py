"""How many tasks the threads hold ahead."""

import pytest

from autotask.worker.claiming.prefetch import BUSY_SLEEP, MOST_PREFETCHED, PREFETCH, Prefetch


@pytest.fixture
def prefetch():
    return Prefetch(4, lambda ended: None)


def test_nothing_is_held_ahead_before_a_task_has_ended(prefetch):
    assert prefetch.size(0, 0.0) == 0


def test_short_tasks_are_held_ahead_by_how_long_they_take(prefetch):
    assert prefetch.size(10, 10 * PREFETCH / 5) == 20
    assert prefetch.size(10, 10 * PREFETCH / 5) == 20


def test_very_short_tasks_have_a_limit(prefetch):
    assert prefetch.size(10, 0.0) == MOST_PREFETCHED


def test_long_tasks_are_not_held_ahead(prefetch):
    assert prefetch.size(1, 5 * PREFETCH) == 0


def test_it_is_quick_to_hold_fewer_and_slow_to_hold_more(prefetch):
    assert prefetch.size(1, PREFETCH / 10) == 40
    assert prefetch.size(2, PREFETCH / 10 + PREFETCH) == 4
    assert prefetch.size(3, PREFETCH / 10 + PREFETCH) == 8


def test_large_results_allow_fewer():
    asked = []
    prefetch = Prefetch(4, lambda ended: asked.append(ended) or 3)
    assert prefetch.size(10, 0.0) == 3
    assert asked == [10]
    assert Prefetch(4, lambda ended: -3).size(10, 0.0) == 0


def test_tasks_are_stuck_that_wait_behind_long_ones(prefetch):
    # Given
    prefetch.size(10, 0.0)
    assert not prefetch.is_stuck(100.0, 10, outstanding=50)
    assert not prefetch.is_stuck(100.0 + BUSY_SLEEP / 2, 10, outstanding=50)

    # When, then
    assert prefetch.is_stuck(100.0 + BUSY_SLEEP, 10, outstanding=50)
    assert prefetch.size(10, 0.0) == 0


def test_tasks_are_stuck_though_some_end(prefetch):
    # Given: 46 tasks wait, and four end in a second
    prefetch.size(10, 0.0)
    assert not prefetch.is_stuck(100.0, 10, outstanding=50)

    # When, then
    assert prefetch.is_stuck(100.0 + BUSY_SLEEP, 14, outstanding=46)
    assert prefetch.size(10, 0.0) == 0


def test_nothing_is_stuck_if_those_that_waited_have_begun_or_none_waits(prefetch):
    assert not prefetch.is_stuck(100.0, 10, outstanding=50)
    assert not prefetch.is_stuck(100.0 + BUSY_SLEEP, 56, outstanding=50)
    assert not prefetch.is_stuck(100.0 + 3 * BUSY_SLEEP, 56, outstanding=4)


def test_nothing_is_stuck_because_of_tasks_that_were_released(prefetch):
    # Given
    assert not prefetch.is_stuck(100.0, 10, outstanding=50)

    # When: those that wait are released, and others come later
    assert not prefetch.is_stuck(100.0 + BUSY_SLEEP / 2, 11, outstanding=4)

    # Then
    assert not prefetch.is_stuck(100.0 + BUSY_SLEEP, 12, outstanding=50)


def test_nothing_is_stuck_because_a_thread_was_given_up_with_its_count(prefetch):
    assert not prefetch.is_stuck(100.0, 10, outstanding=50)
    assert not prefetch.is_stuck(100.0 + BUSY_SLEEP, 3, outstanding=50)


def test_tasks_of_an_executor_may_wait_longer():
    assert Prefetch(4, lambda ended: None, within=5 * PREFETCH).size(10, 10 * PREFETCH) == 20
