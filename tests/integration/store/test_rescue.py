"""Rescue: the tasks of dead workers come back, and those that kill their workers end."""

import uuid
from datetime import timedelta

import pytest

from autotask.store import forgotten, read, rescue
from autotask.store.connection import current, execute, rows
from autotask.task import State
from tests.integration.store.shapes import count, let_be_ready, now, put, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


def rescued(*dead, connection=None, max_crashes=3, error_ttl=1000.0):
    return rescue.rescue(
        connection or current(), dead, reason="signal 9 (SIGKILL)", max_crashes=max_crashes, error_ttl=error_ttl
    )


def expire(worker):
    execute(
        current(),
        "UPDATE autotask_worker SET lease_until = clock_timestamp() - interval '1 s' WHERE id = %(id)s",
        {"id": worker},
    )


def make_ready():
    let_be_ready(*(id for (id,) in rows(current(), "SELECT id FROM autotask_task WHERE state = 0")))


def die_with(id, **kwargs):
    """Have a new worker claim the task and die."""
    make_ready()
    worker = sign_on()
    assert [task.id for task in take(worker, which="true")] == [id]
    return rescued(worker, **kwargs)


def test_where_all_live_nothing_happens():
    worker = sign_on()
    put(3)
    take(worker)
    assert rescued() == (0, 0, 0)
    assert count("autotask_worker") == 1


def test_the_tasks_of_a_worker_known_to_be_dead_come_back_at_once():
    # Given
    dead, alive = sign_on(), sign_on()
    put(3)
    (lost, *_) = take(dead, limit=1)
    take(alive, limit=1)

    # When
    assert rescued(dead) == (1, 1, 0)

    # Then
    row = stored(lost.id)
    assert (row.state, row.lost, row.failures, row.attempt, row.fence) == (State.READY, 1, 0, 1, None)
    assert [worker.id for worker in read.workers(current())] == [alive]
    (attempt,) = read.attempts(current(), lost.id)
    assert (attempt.number, attempt.state, attempt.error_message) == (1, State.LOST, "signal 9 (SIGKILL)")


def test_a_worker_whose_lease_ran_out_is_found_without_being_named():
    worker = sign_on()
    put(2)
    take(worker)
    expire(worker)
    assert rescued() == (1, 2, 0)


def test_a_worker_does_not_bury_itself_after_an_outage_but_others_whose_lease_ran_out():
    # Given
    mine, other = sign_on(), sign_on()
    (kept, given) = put(2)
    take(mine, limit=1)
    take(other)
    expire(mine)
    expire(other)

    # When
    found = rescue.rescue(current(), [], reason="", max_crashes=3, error_ttl=60, rescuer=mine)

    # Then
    assert found == (1, 1, 0)
    assert (state(kept), state(given)) == (State.RUNNING, State.READY)


def test_a_task_of_a_worker_that_is_in_no_register_is_found_too():
    worker = sign_on()
    put(2)
    take(worker)
    execute(current(), "DELETE FROM autotask_worker")
    assert rescued() == (0, 2, 0)


def test_a_worker_that_is_not_there_can_be_named():
    assert rescued(uuid.uuid4()) == (0, 0, 0)


def test_what_waits_is_not_touched():
    worker = sign_on()
    ids = put(2) + put(2, delay=60)
    before = [stored(id) for id in ids]
    rescued(worker)
    assert [stored(id) for id in ids] == before


def test_each_further_death_doubles_the_wait():
    # Given
    (id,) = put()
    die_with(id, max_crashes=100)
    assert stored(id).state is State.READY

    for wait in (1, 2, 4, 8):
        # When
        before = now()
        die_with(id, max_crashes=100)
        after = now()

        # Then: the moment of the death is between the two
        row = stored(id)
        assert row.state is State.SCHEDULED
        assert before <= row.run_at - timedelta(seconds=wait) <= after


def test_the_task_that_kills_its_workers_ends_in_an_error_that_says_so():
    # Given
    (id,) = put(retries=99, ttl=5.0)

    # When
    assert [die_with(id) for _ in range(3)] == [(1, 1, 0), (1, 1, 0), (1, 0, 1)]

    # Then
    row = stored(id)
    assert (row.state, row.lost, row.failures, row.attempt) == (State.ERROR, 3, 0, 3)
    assert row.error_message == "killed its worker 3 times: signal 9 (SIGKILL)"
    assert (row.kept_until - row.ended_at).total_seconds() == pytest.approx(1000, abs=1)
    assert rows(current(), "SELECT payload IS NOT NULL FROM autotask_result") == [(True,)]
    assert [attempt.state for attempt in read.attempts(current(), id)] == [State.LOST] * 3
    assert count("autotask_task") == 0


def test_a_death_at_most_can_be_allowed():
    (id,) = put()
    assert die_with(id, max_crashes=1) == (1, 0, 1)
    assert state(id) is State.ERROR


def test_a_death_after_a_request_to_cancel_is_a_cancellation():
    # Given
    worker = sign_on()
    (id,) = put()
    take(worker)
    execute(current(), "UPDATE autotask_task SET cancel_requested = true")

    # When
    assert rescued(worker) == (1, 0, 1)

    # Then
    assert (stored(id).state, stored(id).error_message) == (State.CANCELLED, "")


def test_a_reason_that_looks_like_a_template_is_shown_as_it_is():
    (id,) = put()
    make_ready()
    worker = sign_on()
    take(worker)
    rescue.rescue(current(), [worker], reason="100 %s of %(x)s %", max_crashes=1, error_ttl=1.0)
    assert stored(id).error_message == "killed its worker 1 times: 100 %s of %(x)s %"


def test_rescues_at_the_same_time_count_a_death_once(in_threads):
    # Given
    workers = [sign_on() for _ in range(3)]
    ids = put(60)
    for worker in workers:
        take(worker, limit=20)

    # When
    found = in_threads(lambda connection, _: rescued(*workers, connection=connection), times=3)

    # Then
    assert [sum(numbers) for numbers in zip(*found, strict=True)] == [3, 60, 0]
    assert {(stored(id).lost, stored(id).state) for id in ids} == {(1, State.READY)}
    assert count("autotask_attempt") == 60


def test_a_worker_that_is_just_renewing_its_lease_is_left_alone(transaction):
    # Given a heartbeat that has been sent in time and is not committed yet
    worker = sign_on()
    put()
    take(worker)
    execute(
        transaction,
        "UPDATE autotask_worker SET lease_until = clock_timestamp() + interval '30 s' WHERE id = %(id)s",
        {"id": worker},
    )
    assert rescued() == (0, 0, 0)
    execute(transaction, "COMMIT")
    assert rescued() == (0, 0, 0)


# --- at most once ---------------------------------------------------------------------------------------------------


def test_a_task_that_may_run_once_only_ends_with_its_worker_and_says_why():
    # Given
    worker = sign_on()
    (once,) = put(at_most_once=True, ttl=5.0)
    (other,) = put()
    take(worker)

    # When
    assert rescued(worker) == (1, 1, 1)

    # Then
    row = stored(once)
    assert (row.state, row.attempt, row.lost, row.at_most_once) == (State.ERROR, 1, 1, True)
    assert row.error_message == "its worker died: signal 9 (SIGKILL); at_most_once: it is not run again"
    assert (row.kept_until - row.ended_at).total_seconds() == pytest.approx(1000, abs=1)
    assert [attempt.state for attempt in read.attempts(current(), once)] == [State.LOST]
    assert state(other) is State.READY


def test_a_task_that_may_run_once_only_and_was_to_be_cancelled_is_cancelled():
    worker = sign_on()
    (once,) = put(at_most_once=True)
    take(worker)
    execute(current(), "UPDATE autotask_task SET cancel_requested = true")
    assert rescued(worker) == (1, 0, 1)
    assert state(once) is State.CANCELLED


def test_a_claim_whose_answer_was_lost_is_given_back_also_if_it_may_run_once_only():
    # Given a claim that no worker knows of: nothing has begun
    worker = sign_on()
    (once,) = put(at_most_once=True)
    take(worker)

    # When
    assert forgotten.reconcile(current(), worker, held=[]) == [once]

    # Then
    assert (state(once), stored(once).attempt) == (State.READY, 0)


# --- processes of running workers ------------------------------------------------------------------------------------


def lost(*tasks, reason="signal 11 (SIGSEGV)", max_crashes=3):
    claims = [(task.id, task.fence, reason) for task in tasks]
    return rescue.lose(current(), claims, max_crashes=max_crashes, error_ttl=1000.0)


def test_a_task_whose_process_has_died_comes_back_and_its_worker_stays():
    # Given
    worker = sign_on()
    put(2)
    task, other = take(worker)

    # When
    assert lost(task) == 1

    # Then
    row = stored(task.id)
    assert (row.state, row.attempt, row.lost, row.failures) == (State.READY, 1, 1, 0)
    assert [(a.state, a.error_message) for a in read.attempts(current(), task.id)] == [
        (State.LOST, "signal 11 (SIGSEGV)")
    ]
    assert state(other.id) is State.RUNNING
    assert count("autotask_worker") == 1


def test_a_task_that_has_killed_too_many_processes_ends():
    put()
    (task,) = take(sign_on())
    assert lost(task, max_crashes=1) == 1
    row = stored(task.id)
    assert (row.state, row.error_message) == (State.ERROR, "killed its process 1 times: signal 11 (SIGSEGV)")


def test_a_process_that_dies_late_changes_nothing_about_a_task_that_was_given_to_others():
    # Given
    worker = sign_on()
    put()
    (task,) = take(worker)
    rescued(worker)
    (again,) = take(sign_on(), which="true")

    # When
    assert lost(task) == 0

    # Then
    row = stored(again.id)
    assert (row.state, row.lost) == (State.RUNNING, 1)
