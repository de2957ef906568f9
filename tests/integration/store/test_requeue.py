"""The retry button: what ended without success runs again under its id, with its history."""

import time

import pytest

from autotask.store import finish, read, rescue
from autotask.store.connection import current
from autotask.store.requeue import requeue
from autotask.task import State
from tests.integration.store.shapes import outcome, put, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


def end(task, state, **changes):
    finish.end(current(), [outcome(task, state, **changes)], now=time.monotonic(), error_ttl=1000.0)


def test_a_failed_task_starts_anew_and_keeps_its_history():
    # Given
    worker = sign_on()
    (id,) = put(retries=1)
    (task,) = take(worker)
    end(task, State.ERROR, error_message="no")

    # When
    assert requeue(current(), id) is True

    # Then
    row = stored(id)
    assert (row.state, row.failures, row.lost, row.attempt, row.error_message) == (State.READY, 0, 0, 1, "")
    assert [attempt.error_message for attempt in read.attempts(current(), id)] == ["no"]
    (again,) = take(worker)
    assert (again.attempt, again.failures, again.payload) == (2, 0, b"payload")
    assert again.fence > task.fence


def test_a_task_that_killed_its_workers_gets_all_its_lives_back():
    (id,) = put()
    worker = sign_on()
    take(worker)
    rescue.rescue(current(), [worker], reason="gone", max_crashes=1, error_ttl=1000.0)
    assert requeue(current(), id) is True
    (task,) = take(sign_on())
    assert task.lost == 0


def test_a_task_that_succeeded_is_not_run_again():
    (id,) = put()
    (task,) = take(sign_on())
    end(task, State.DONE, value=b"value")
    assert requeue(current(), id) is False
    assert (state(id), stored(id).value) == (State.DONE, b"value")


def test_a_running_task_is_not_run_a_second_time():
    (id,) = put()
    take(sign_on())
    assert requeue(current(), id) is False


def test_the_outcome_of_an_earlier_claim_does_not_end_the_new_life_of_a_task():
    # Given a worker that was late
    (id,) = put()
    worker = sign_on()
    (task,) = take(worker)
    end(task, State.ERROR)
    requeue(current(), id)

    # When
    end(task, State.DONE, value=b"late")

    # Then
    assert state(id) is State.READY
