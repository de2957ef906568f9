"""When a suspect may run, and what it keeps others from."""

import pytest

from autotask.store.claim import BoundedLane, Lane
from autotask.task import COROUTINE, THREAD
from autotask.worker.claiming.quarantine import DRAIN_EVERY, DRAIN_FOR, Quarantine


@pytest.fixture
def quarantine():
    return Quarantine()


def lane(executor=THREAD, queue="default"):
    return Lane(queue, 0, executor)


def test_without_a_suspect_nothing_is_barred(quarantine):
    assert not quarantine.is_on()
    assert not quarantine.bars_others(100.0)


def test_while_others_are_held_a_suspect_drains_them_for_a_while_only(quarantine):
    quarantine.found([lane()])
    assert quarantine.is_on() and quarantine.waits()
    assert quarantine.drains(100.0)
    assert quarantine.drains(100.0 + DRAIN_FOR - 0.1)
    assert not quarantine.drains(100.0 + DRAIN_FOR)
    assert not quarantine.bars_others(100.0 + DRAIN_FOR)
    assert quarantine.drains(100.0 + DRAIN_EVERY)


def test_a_suspect_that_runs_bars_all_others_until_nothing_is_held(quarantine):
    quarantine.found([lane()])
    quarantine.begin()
    quarantine.found([])
    assert quarantine.is_on() and quarantine.bars_others(1e9) and quarantine.drains(1e9)
    quarantine.end()
    assert not quarantine.is_on()


def test_a_suspect_that_has_ended_before_it_is_looked_for_again_bars_nothing(quarantine):
    quarantine.found([lane()])
    quarantine.begin()
    quarantine.end()
    quarantine.found([])
    assert not (quarantine.is_on() or quarantine.waits() or quarantine.runs_alone)


def test_one_suspect_is_looked_for_in_the_lanes_of_one_pool(quarantine):
    quarantine.found([lane(COROUTINE, "a"), lane(THREAD, "b"), lane(COROUTINE, "c")])
    assert quarantine.lanes() == (
        COROUTINE,
        [BoundedLane(lane(COROUTINE, "a"), None), BoundedLane(lane(COROUTINE, "c"), None)],
    )
