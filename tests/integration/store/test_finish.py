"""Outcomes: recorded once, only while the claim is still the worker's, and with their history."""

import time
from datetime import timedelta

import pytest

from autotask.store import finish, forgotten, read, release, rescue
from autotask.store.connection import current, execute, rows
from autotask.store.release import Release
from autotask.task import State
from tests.integration.store.shapes import count, edit, now, outcome, put, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


def end(*outcomes, connection=None, error_ttl=1000.0):
    return finish.end(connection or current(), outcomes, now=time.monotonic(), error_ttl=error_ttl)


def retry(*outcomes, worker=None):
    return finish.retry(current(), outcomes, now=time.monotonic())


@pytest.fixture
def worker(transactional_db):
    return sign_on()


def running(worker, **changes):
    put(1, **changes)
    (task,) = take(worker)
    return task


# --- the end --------------------------------------------------------------------------------------------------------


def test_a_task_that_is_done_moves_to_the_results_without_its_arguments(worker):
    # Given
    task = running(worker, ttl=50.0, queue="mail", priority=3)
    before = stored(task.id)

    # When
    assert end(outcome(task, value=b"\x00value", seconds=2.0)) == 1

    # Then
    after = stored(task.id)
    assert (after.state, after.value, after.fence, after.worker_id) == (State.DONE, b"\x00value", task.fence, worker)
    assert (after.name, after.queue, after.priority, after.attempt) == (before.name, "mail", 3, 1)
    assert (after.created_at, after.run_at) == (before.created_at, before.run_at)
    assert after.ended_at - after.started_at == timedelta(seconds=2)
    assert timedelta(seconds=50) <= after.kept_until - after.ended_at < timedelta(seconds=51)
    assert rows(current(), "SELECT payload FROM autotask_result") == [(None,)]
    assert (count("autotask_task"), count("autotask_result"), count("autotask_attempt")) == (0, 1, 0)


@pytest.mark.parametrize(("ttl", "kept"), [(5.0, 1000), (5000.0, 5000)])
def test_an_error_is_kept_longer_and_keeps_its_arguments_and_its_attempt(worker, ttl, kept):
    # Given
    task = running(worker, ttl=ttl)

    # When
    end(
        outcome(task, State.ERROR, error_type="x.Y", error_message="Y: no", traceback="Traceback"),
        error_ttl=1000.0,
    )

    # Then
    after = stored(task.id)
    assert (after.state, after.error_message, after.failures) == (State.ERROR, "Y: no", 1)
    assert (after.kept_until - after.ended_at).total_seconds() == pytest.approx(kept, abs=1)
    assert [bytes(payload) for (payload,) in rows(current(), "SELECT payload FROM autotask_result")] == [b"payload"]
    (attempt,) = read.attempts(current(), task.id)
    assert (attempt.number, attempt.state, attempt.error_type) == (1, State.ERROR, "x.Y")
    assert (attempt.error_message, attempt.traceback) == ("Y: no", "Traceback")


def test_a_cancelled_task_keeps_its_arguments_and_is_no_failure(worker):
    task = running(worker)
    end(outcome(task, State.CANCELLED))
    after = stored(task.id)
    assert (after.state, after.failures) == (State.CANCELLED, 0)
    assert rows(current(), "SELECT payload IS NOT NULL FROM autotask_result") == [(True,)]


def test_the_end_is_the_moment_at_which_the_task_ended_and_not_at_which_it_was_written(worker):
    task = running(worker)
    before = now()
    end(outcome(task, ended_at=time.monotonic() - 60, seconds=5.0))
    after = stored(task.id)
    assert before <= after.ended_at + timedelta(seconds=60) <= now()
    assert (after.ended_at - after.started_at).total_seconds() == pytest.approx(5, abs=0.01)


def test_many_end_with_one_statement(worker):
    put(30)
    tasks = take(worker)
    states = [State.DONE, State.ERROR, State.CANCELLED]
    assert end(*[outcome(task, states[number % 3]) for number, task in enumerate(tasks)]) == 30
    assert [state(task.id) for task in tasks] == states * 10
    assert count("autotask_attempt") == 20


def test_nothing_ends_with_an_empty_statement():
    assert end() == 0


def test_text_that_postgresql_cannot_store_is_stored_somehow(worker):
    task = running(worker)
    bad = "a\0b\ud800" + "x" * 200_000
    end(outcome(task, State.ERROR, error_type=bad, error_message=bad, traceback=bad))
    after = stored(task.id)
    assert after.error_message.startswith("a\\0b\\ud800xxx")
    assert len(after.error_message) < 10_100


def test_what_has_not_begun_is_no_attempt(worker):
    # Given
    task = running(worker)

    # When
    assert end(outcome(task, State.CANCELLED, error_message="expired", began=False)) == 1

    # Then
    after = stored(task.id)
    assert (after.state, after.attempt, after.started_at) == (State.CANCELLED, 0, None)
    assert after.error_message == "expired"
    assert count("autotask_attempt") == 0


# --- whose claim it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_an_outcome_with_a_wrong_fence_changes_nothing(worker, change):
    # Given
    task = running(worker)
    before = stored(task.id)
    wrong = outcome(task, value=b"wrong", fence=task.fence + change)

    # When
    assert end(wrong) == 0
    assert retry(outcome(task, State.RETRY, fence=task.fence + change)) == 0
    assert release.release(current(), [Release(task.id, task.fence + change)]) == set()

    # Then
    assert stored(task.id) == before
    assert (count("autotask_result"), count("autotask_attempt")) == (0, 0)


def test_an_outcome_of_a_task_that_waits_changes_nothing():
    (id,) = put()
    before = stored(id)
    assert finish.end(current(), [finish.Outcome(id, 0, State.DONE, 0.0, 0.0)], now=1.0, error_ttl=1.0) == 0
    assert stored(id) == before


def test_a_task_ends_once(worker):
    task = running(worker)
    assert end(outcome(task, value=b"first")) == 1
    assert end(outcome(task, value=b"second")) == 0
    assert retry(outcome(task, State.RETRY)) == 0
    assert stored(task.id).value == b"first"
    assert (count("autotask_result"), count("autotask_attempt")) == (1, 0)


def test_one_stale_outcome_does_not_hold_up_the_others(worker):
    put(3)
    first, second, third = take(worker)
    assert end(outcome(first), outcome(second, fence=second.fence + 1), outcome(third)) == 2
    assert (state(first.id), state(second.id), state(third.id)) == (State.DONE, State.RUNNING, State.DONE)


def test_two_outcomes_of_one_claim_at_the_same_time_are_one(worker, in_threads):
    # Given
    put(50)
    tasks = take(worker)

    # When
    accepted = in_threads(
        lambda connection, number: end(*[outcome(task, value=b"%d" % number) for task in tasks], connection=connection),
        times=3,
    )

    # Then
    assert sum(accepted) == 50
    assert count("autotask_result") == 50


def test_an_outcome_that_waits_for_a_rescue_finds_its_claim_gone(worker, transaction, in_background):
    # Given a rescue in the middle of its transaction
    task = running(worker)
    rescue.rescue(transaction, [worker], reason="gone", max_crashes=3, error_ttl=1000.0)

    # When
    late = in_background(lambda connection: end(outcome(task, value=b"late"), connection=connection))
    execute(transaction, "COMMIT")

    # Then
    assert late() == 0
    after = stored(task.id)
    assert (after.state, after.lost, after.value) == (State.READY, 1, None)


def test_a_rescue_passes_over_what_is_just_ending(worker, transaction):
    # Given
    task = running(worker)
    end(outcome(task, value=b"in time"), connection=transaction)

    # When
    rescue.rescue(current(), [worker], reason="gone", max_crashes=3, error_ttl=1000.0)
    execute(transaction, "COMMIT")

    # Then
    assert (stored(task.id).state, stored(task.id).value, stored(task.id).lost) == (State.DONE, b"in time", 0)
    assert count("autotask_attempt") == 0


def test_what_is_recorded_under_a_fence_can_be_told_from_what_is_not(worker):
    # Given
    put(5)
    done, failed, tried_again, stale, never = take(worker)
    end(outcome(done), outcome(failed, State.ERROR))
    retry(outcome(tried_again, State.RETRY))
    end(outcome(stale))

    # When
    asked = [
        outcome(done),
        outcome(failed),
        outcome(tried_again),
        outcome(stale, fence=stale.fence + 1),
        outcome(never),
    ]

    # Then
    assert finish.recorded(current(), asked) == {done.id, failed.id, tried_again.id}


# --- another attempt ------------------------------------------------------------------------------------------------


def test_a_task_to_be_tried_again_waits_for_its_moment_with_its_failure_counted(worker):
    # Given
    task = running(worker, retries=3)

    # When
    before = now()
    assert retry(outcome(task, State.RETRY, delay=30.0, error_message="no"), worker=worker) == 1

    # Then
    after = stored(task.id)
    assert (after.state, after.failures, after.attempt, after.lost) == (State.SCHEDULED, 1, 1, 0)
    assert (after.fence, after.worker_id) == (None, None)
    assert before <= after.run_at - timedelta(seconds=30) <= now()
    (attempt,) = read.attempts(current(), task.id)
    assert (attempt.number, attempt.state, attempt.error_message) == (1, State.RETRY, "no")


# --- given back -----------------------------------------------------------------------------------------------------


def test_a_task_that_is_given_back_is_as_if_it_had_not_been_claimed(worker):
    # Given
    task = running(worker)

    # When
    assert release.release(current(), [Release(task.id, task.fence)]) == {task.id}

    # Then
    after = stored(task.id)
    assert (after.state, after.attempt, after.failures, after.lost) == (State.READY, 0, 0, 0)
    assert (after.fence, after.worker_id) == (None, None)
    assert count("autotask_attempt") == 0
    (again,) = take(worker)
    assert again.attempt == 1
    assert again.fence > task.fence


@pytest.mark.parametrize("how", ["released", "forgotten"])
@pytest.mark.parametrize("suspect", [False, True])
def test_a_task_that_is_given_back_keeps_its_place_unless_it_is_a_suspect(worker, how, suspect):
    # Given
    task = running(worker)
    edit("UPDATE autotask_task SET lost = %(lost)s", {"lost": int(suspect)})
    put(2)

    # When
    if how == "released":
        release.release(current(), [Release(task.id, task.fence)])
    else:
        assert forgotten.reconcile(current(), worker, []) == [task.id]

    # Then
    order = "SELECT id FROM autotask_ready ORDER BY queue, priority, executor, ready_at"
    assert rows(current(), order).index((task.id,)) == (2 if suspect else 0)


def test_a_task_that_has_begun_and_asks_to_run_again_lets_others_go_first(worker):
    # Given: one that does so without end must not keep a thread for itself
    task = running(worker)
    put(2)

    # When
    release.release(current(), [Release(task.id, task.fence, known=True)])

    # Then
    order = "SELECT id FROM autotask_ready ORDER BY queue, priority, executor, ready_at"
    assert rows(current(), order).index((task.id,)) == 2


def test_a_task_that_is_not_known_is_given_back_for_later_and_remembers_since_when(worker):
    # Given
    task = running(worker)
    release.release(current(), [Release(task.id, task.fence, 30.0, unknown=True)])
    assert state(task.id) is State.SCHEDULED
    edit(
        "UPDATE autotask_task SET state = 1, ready_at = clock_timestamp(), "
        "unknown_since = unknown_since - interval '1 hour'",
    )

    # When it is given back once more
    (task,) = take(worker)
    assert task.unknown_for == pytest.approx(3600, abs=5)
    assert task.attempt == 1
    release.release(current(), [Release(task.id, task.fence, 30.0, unknown=True)])

    # Then the first moment counts
    edit("UPDATE autotask_task SET state = 1, ready_at = clock_timestamp()")
    (task,) = take(worker)
    assert task.unknown_for == pytest.approx(3600, abs=5)


def test_what_is_known_at_last_is_no_longer_unknown(worker):
    # Given a task that some worker did not know
    task = running(worker)
    release.release(current(), [Release(task.id, task.fence, unknown=True)])

    # When another one gives it back without a look at it
    (task,) = take(worker)
    release.release(current(), [Release(task.id, task.fence)])

    # Then that says nothing
    (task,) = take(worker)
    assert task.unknown_for is not None

    # When one knows its function
    release.release(current(), [Release(task.id, task.fence, known=True)])

    # Then
    (task,) = take(worker)
    assert task.unknown_for is None


def test_a_task_that_snoozes_waits_for_its_time_and_the_attempt_does_not_count(worker):
    # Given
    task = running(worker)

    # When
    before = now()
    assert release.release(current(), [Release(task.id, task.fence, 30.0)]) == {task.id}

    # Then
    after = stored(task.id)
    assert (after.state, after.attempt, after.failures, after.lost) == (State.SCHEDULED, 0, 0, 0)
    assert before <= after.run_at - timedelta(seconds=30) <= now()
    ((unknown,),) = rows(current(), "SELECT unknown_since FROM autotask_live")
    assert unknown is None


# --- cancelled meanwhile --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["tried again", "given back", "snoozed"])
def test_a_request_to_cancel_is_not_forgotten_when_the_task_goes_back(worker, how):
    # Given
    task = running(worker, retries=3)
    execute(current(), "UPDATE autotask_task SET cancel_requested = true")

    # When
    if how == "tried again":
        retry(outcome(task, State.RETRY, delay=300.0))
        edit("UPDATE autotask_task SET state = 1, ready_at = clock_timestamp() WHERE run_at <= now()")
    else:
        release.release(current(), [Release(task.id, task.fence, delay=300.0 if how == "snoozed" else 0.0)])

    # Then the next worker hears of it with the claim, and at once
    (again,) = take(worker)
    assert again.cancel_requested
