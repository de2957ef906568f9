"""The turns of a worker at making large claims: it leaves them to others in any case, and waits for them asleep."""

import pytest
from django.test import override_settings

from autotask.exceptions import InvalidSetting
from autotask.store.claim import Lane
from autotask.store.connection import current
from autotask.worker import turns as turns_module
from autotask.worker.claiming.claimer import Prospect
from autotask.worker.claiming.placement import Placement
from autotask.worker.idle import LOCKED_SLEEP
from autotask.worker.options import WorkerOptions
from autotask.worker.turns import LARGE, MEMORY, TURNS, Turns
from autotask.worker.worker import Worker
from tests.integration.store.shapes import put

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    """Return a worker that does not run, and knows of a lane with tasks."""
    worker = Worker(WorkerOptions())
    lanes, lane = worker.claimer.threads.lanes, Lane("default", 0)
    lanes.found([lane])
    lanes.sure = (lane,)
    yield worker
    for pool in worker.pools.values():
        pool.close()


def test_a_worker_that_fails_before_its_claim_takes_the_turn_of_nobody(worker, monkeypatch):
    # Given
    monkeypatch.setattr(turns_module, "LARGE", 1)  # It has not run fast tasks yet, and so claims few.
    memory = MEMORY.new()
    worker.claimer.claims.turns = Turns(memory)

    # When
    with override_settings(AUTOTASK_MAX_PAYLOAD="large"), pytest.raises(InvalidSetting):
        worker.claimer.take(current())

    # Then
    assert [Turns(memory).begin(LARGE) for _ in range(TURNS)] == [True] * TURNS


def test_a_worker_that_rests_and_has_a_word_waits_asleep_for_its_turn(worker, monkeypatch):
    # Given
    slept = []
    monkeypatch.setattr(worker.wakeup, "sleep", lambda seconds, listener=None: slept.append(seconds))
    worker.rest.is_on = True
    worker.wakeup.called = True

    # When
    worker.loop._pause(Prospect.TURN, None)

    # Then
    assert slept == [LOCKED_SLEEP]
    assert worker.loop.news.has_word()


def test_a_worker_leaves_its_turn_to_others_before_it_places_what_it_has_claimed(worker, monkeypatch):
    # Given
    monkeypatch.setattr(turns_module, "LARGE", 1)
    memory, free = MEMORY.new(), []
    worker.claimer.claims.turns = Turns(memory)
    worker.registration.sign_on(current())
    put(3)

    def place(placement, claimed, pool):
        free.append((len(claimed), [Turns(memory).begin(LARGE) for _ in range(TURNS)]))

    monkeypatch.setattr(Placement, "place", place)

    # When
    worker.claimer.take(current())

    # Then
    assert free == [(3, [True] * TURNS)]


def test_a_worker_to_which_a_task_was_handed_does_not_sleep_until_its_turn(worker, monkeypatch):
    # Given
    slept = []
    monkeypatch.setattr(worker.wakeup, "sleep", lambda seconds, listener=None: slept.append(seconds))
    worker.wakeup.handed.append(b"a task")

    # When
    worker.loop._pause(Prospect.TURN, None)

    # Then
    assert slept == []
