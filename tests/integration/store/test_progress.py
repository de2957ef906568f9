"""Progress: written into the rows of those who still have the claim, and never waited for."""

import pytest

from autotask.context import Progress
from autotask.store import progress, release
from autotask.store.connection import current, execute
from autotask.store.release import Release
from autotask.store.requeue import requeue
from autotask.task import State
from tests.helpers import wait_until
from tests.integration.store.shapes import edit, outcome, put, sign_on, stored, take, waiting_for_locks
from tests.integration.store.test_finish import end, retry

pytestmark = pytest.mark.django_db(transaction=True)


def running(count=1, worker=None, **changes):
    put(count, **changes)
    return take(worker or sign_on())


def said(task):
    return stored(task.id).progress


def claim_of(task):
    return task.id, task.fence


def test_many_tasks_are_noted_at_once():
    # Given
    first, second, silent = running(3)
    reports = {claim_of(first): Progress(1.0, 2.5), claim_of(second): Progress(7.0)}

    # When
    written = progress.note(current(), reports)

    # Then
    assert written == set(reports)
    assert (said(first), said(second), said(silent)) == (Progress(1.0, 2.5), Progress(7.0), None)


def test_who_has_lost_the_claim_writes_nothing():
    (task,) = running()
    assert progress.note(current(), {(task.id, task.fence - 1): Progress(1.0)}) == set()
    assert said(task) is None


def test_a_row_that_somebody_has_locked_is_left_out_and_not_waited_for(transaction):
    # Given
    locked, free = running(2)
    execute(transaction, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": locked.id})
    execute(current(), "SET lock_timeout = '50ms'")

    # When
    try:
        written = progress.note(current(), {claim_of(locked): Progress(1.0), claim_of(free): Progress(2.0)})
    finally:
        execute(current(), "RESET lock_timeout")

    # Then
    assert written == {claim_of(free)}


def test_a_last_word_is_waited_with_until_the_row_is_free(transaction, in_background):
    # Given
    (task,) = running()
    execute(transaction, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": task.id})

    # When
    written = in_background(lambda connection: progress.note(connection, {claim_of(task): Progress(1.0)}, wait=True))
    wait_until(waiting_for_locks, what="the wait for the lock")
    execute(transaction, "COMMIT")

    # Then
    assert written() == {claim_of(task)}
    assert said(task) == Progress(1.0)


@pytest.mark.parametrize("ended", [State.DONE, State.ERROR, State.CANCELLED])
def test_the_last_word_stays_with_the_result(ended):
    (task,) = running()
    progress.note(current(), {claim_of(task): Progress(9.0, 10.0)})
    end(outcome(task, ended))
    assert said(task) == Progress(9.0, 10.0)


def test_it_stays_while_the_task_waits_for_another_attempt_which_starts_anew():
    # Given
    worker = sign_on()
    (task,) = running(worker=worker, retries=1)
    progress.note(current(), {claim_of(task): Progress(9.0, 10.0)})

    # When
    retry(outcome(task, State.RETRY))

    # Then
    assert said(task) == Progress(9.0, 10.0)

    # When
    edit("UPDATE autotask_task SET state = 1, ready_at = clock_timestamp()")
    (again,) = take(worker)

    # Then
    assert said(again) is None


def test_a_task_that_is_retried_by_hand_starts_anew():
    (task,) = running()
    progress.note(current(), {claim_of(task): Progress(9.0, 10.0)})
    end(outcome(task, State.ERROR))
    assert requeue(current(), task.id)
    assert said(task) is None


def test_it_is_still_there_when_a_task_has_snoozed():
    (task,) = running()
    progress.note(current(), {claim_of(task): Progress(9.0, 10.0)})
    release.release(current(), [Release(task.id, task.fence, 60.0)])
    assert said(task) == Progress(9.0, 10.0)
    assert stored(task.id).state is State.SCHEDULED
