"""Claims: one row for many tasks, and who wins if two act on them at the same moment."""

import threading
import time
from collections import Counter

import pytest
from django.db import connections, transaction
from django.db.utils import OperationalError

from autotask.flow import Flow, LimitGate
from autotask.store import (
    bring_forward,
    cancel,
    claims,
    enqueue,
    finish,
    follow,
    forgotten,
    release,
    requeue,
    rescue,
    steps,
)
from autotask.store.cancel import Cancellation
from autotask.store.connection import current, execute, rows
from autotask.store.follow import Wanted
from autotask.store.release import Release
from autotask.task import State
from autotask.worker.chores import Chores
from autotask.worker.options import WorkerOptions
from autotask.worker.registration import Registration
from autotask.worker.rescuer import Rescuer
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import (
    count,
    new_task,
    outcome,
    put,
    sign_on,
    state,
    stored,
    take,
    waiting_for_locks,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker():
    return sign_on()


def end(*tasks, over=(), state=State.DONE, connection=None, **options):
    outcomes = [outcome(task, state) for task in tasks]
    return finish.end(
        connection or current(), outcomes, now=time.monotonic(), error_ttl=9.0, over=list(over), **options
    )


def claimed():
    """Return the numbers and the ids of all claims."""
    return dict(rows(current(), "SELECT number, ids FROM autotask_claim"))


def in_place():
    """Check that each task that is READY by its row is in just one place."""
    lost = rows(
        current(),
        """SELECT t.id FROM autotask_task t
           WHERE t.state <> 0 AND (SELECT count(*) FROM autotask_ready r WHERE r.id = t.id)
                                + (SELECT count(*) FROM autotask_held h WHERE h.id = t.id)
                                + (SELECT count(*) FROM autotask_running r WHERE r.id = t.id) <> 1
           UNION ALL
           SELECT r.id FROM autotask_ready r
           WHERE NOT EXISTS (
               SELECT FROM autotask_task t
               WHERE t.state = 1 AND (r.queue, r.priority, r.executor, r.ready_at, r.id)
                                   = (t.queue, t.priority, t.executor, t.ready_at, t.id)
           )""",
    )
    return lost == []


def _release(connection, task):
    return len(release.release(connection, [Release(task.id, task.fence)]))


def _retry(connection, task):
    return finish.retry(connection, [outcome(task, State.RETRY)], now=time.monotonic())


# --- one row ----------------------------------------------------------------------------------------------------------


def test_a_claim_is_one_row_and_leaves_the_tasks_as_they_are(worker):
    # Given
    ids = put(50)
    before = rows(current(), "SELECT id, xmin, ctid FROM autotask_task ORDER BY id")

    # When
    tasks = take(worker)

    # Then
    assert rows(current(), "SELECT id, xmin, ctid FROM autotask_task ORDER BY id") == before
    ((number, found),) = claimed().items()
    assert sorted(found) == sorted(ids)
    assert {task.fence: task.id for task in tasks} == {
        (number << claims.PLACE_BITS) + place: id for place, id in enumerate(found)
    }
    assert count("autotask_ready") == 0
    assert {state(id) for id in ids} == {State.RUNNING}


def test_no_claim_has_more_tasks_than_have_room_in_its_row(worker):
    put(claims.MOST + 50)
    tasks = take(worker, limit=1000)
    assert len(tasks) == len({task.fence for task in tasks}) == claims.MOST
    assert end(*tasks, over=[claims.number(tasks[0].fence)]) == claims.MOST


def test_tasks_that_follow_come_in_as_many_claims_as_have_room_for_them(worker):
    # Given
    gate = LimitGate("limit:a", "a", 2)
    tasks = [new_task()._replace(flow=Flow((gate,))) for _ in range(follow.MOST + 50)]
    enqueue.insert_flowing(current(), tasks)

    # When
    found = follow.follow(current(), worker, [Wanted(gate.key, 1000, 2)], queues=("default",), slots={})[gate.key]

    # Then: the first ones, each with a fence of its own
    assert [task.id for task in found] == [task.id for task in tasks[: follow.MOST]]
    assert len({task.fence for task in found}) == follow.MOST
    assert [claims.number(task.fence) for task in found] == sorted(claims.number(task.fence) for task in found)
    assert set(Counter(claims.number(task.fence) for task in found).values()) == {claims.MOST}
    assert in_place()


def test_a_claim_without_tasks_is_no_row(worker):
    put(3, delay=60)
    assert take(worker) == []
    assert claimed() == {}


def test_the_last_tasks_take_their_claim_with_them(worker):
    put(3)
    first, second, third = take(worker)
    number = claims.number(first.fence)
    assert end(first) == 1
    assert set(claimed()) == {number}
    assert end(second, third, over=[number]) == 2
    assert claimed() == {}


def test_a_claim_of_one_task_ends_with_it_whoever_ends_it(worker):
    put()
    (task,) = take(worker)
    assert end(task) == 1
    assert claimed() == {}


def test_the_last_task_of_a_claim_alone_takes_it_with_it(worker):
    put(2)
    first, last = take(worker)
    number = claims.number(first.fence)
    assert end(first) == 1
    assert end(last, over=[number]) == 1
    assert claimed() == {}
    assert {state(first.id), state(last.id)} == {State.DONE}
    assert end(last, over=[number]) == 0, "it is recorded once"


def test_the_end_of_the_last_task_of_a_claim_is_refused_if_another_worker_has_the_task(worker):
    # Given
    put()
    (task,) = take(worker)
    assert _release(current(), task) == 1
    (again,) = take(sign_on())

    # Then
    assert end(task, over=[claims.number(task.fence)]) == 0
    assert state(task.id) is State.RUNNING
    assert end(again, over=[claims.number(again.fence)]) == 1
    assert claimed() == {}


def test_who_puts_a_task_back_takes_it_out_of_its_claim(worker):
    # Given
    put(4)
    released, retried, lost, kept = take(worker)

    # When
    release.release(current(), [Release(released.id, released.fence)])
    finish.retry(current(), [outcome(retried, State.RETRY)], now=time.monotonic())
    rescue.lose(current(), [(lost.id, lost.fence, "killed")], max_crashes=3, error_ttl=9.0)

    # Then
    ((_, ids),) = claimed().items()
    assert [id for id in ids if id] == [kept.id]
    assert [end(task) for task in (released, retried, lost, kept)] == [0, 0, 0, 1]
    assert in_place()


def test_a_task_that_ended_and_is_retried_by_hand_is_not_in_its_former_claim(worker):
    # Given: the claim is still there, since another one of its tasks runs
    put(2)
    failed, other = take(worker)
    end(failed, state=State.ERROR)

    # When
    assert requeue.requeue(current(), failed.id)

    # Then
    assert state(failed.id) is State.READY
    assert end(failed) == 0
    rescue.rescue(current(), [worker], reason="it was killed", max_crashes=3, error_ttl=9.0)
    assert (stored(failed.id).lost, stored(other.id).lost) == (0, 1)
    assert in_place()


def test_a_claim_of_which_all_tasks_have_ended_is_found_by_its_worker(worker):
    # As when two transactions end the last two tasks at once, and neither knows of the other.
    put(2)
    first, second = take(worker)
    end(first), end(second)
    assert len(claimed()) == 1
    assert forgotten.reconcile(current(), worker, []) == []
    assert claimed() == {}


def test_a_worker_does_not_wait_for_a_claim_that_a_long_transaction_has_locked(worker, other_connection):
    # Given: one that it does not know of, with a task that keeps a step
    put(2)
    task, _ = take(worker)
    put(1)
    (unknown,) = take(worker)
    other_connection.set_autocommit(False)
    assert steps.keep(other_connection, task.id, task.fence, "one", None, 0.0)

    # When
    released = forgotten.reconcile(current(), worker, [])
    other_connection.rollback()
    other_connection.set_autocommit(True)

    # Then: the others are released at once
    assert released == [unknown.id]
    assert len(forgotten.reconcile(current(), worker, [])) == 2
    assert claimed() == {}
    assert in_place()


# --- at the same moment -----------------------------------------------------------------------------------------------


def test_an_outcome_waits_for_a_release_and_comes_too_late(worker, other_connection):
    # Given
    put(2)
    task, _ = take(worker)
    found = []

    def finishing():
        found.append(end(task))
        connections.close_all()

    # When
    other_connection.set_autocommit(False)
    release.release(other_connection, [Release(task.id, task.fence)])
    thread = threading.Thread(target=finishing)
    thread.start()
    wait_until(waiting_for_locks, what="the wait of the outcome")
    other_connection.commit()
    other_connection.set_autocommit(True)
    thread.join(patient(20))

    # Then
    assert found == [0]
    assert state(task.id) is State.READY
    assert in_place()


def test_the_outcome_of_a_last_task_waits_for_a_release_and_comes_too_late(worker, other_connection, in_background):
    # Given
    put()
    (task,) = take(worker)
    other_connection.set_autocommit(False)
    _release(other_connection, task)

    # When
    result = in_background(lambda connection: end(task, over=[claims.number(task.fence)], connection=connection))
    wait_until(waiting_for_locks, what="the wait of the outcome")
    other_connection.commit()
    other_connection.set_autocommit(True)

    # Then
    assert result() == 0
    assert state(task.id) is State.READY
    assert in_place()


def test_a_release_waits_for_the_outcome_of_a_last_task_and_comes_too_late(worker, other_connection, in_background):
    # Given
    put()
    (task,) = take(worker)
    other_connection.set_autocommit(False)
    execute(other_connection, "DELETE FROM autotask_claim")  # as that outcome does first

    # When
    result = in_background(lambda connection: _release(connection, task))
    wait_until(waiting_for_locks, what="the wait of the release")
    execute(other_connection, "DELETE FROM autotask_task")
    other_connection.commit()
    other_connection.set_autocommit(True)

    # Then
    assert result() == 0
    assert claimed() == {}
    assert in_place()


@pytest.mark.parametrize("put_back", [_release, _retry], ids=["release", "retry"])
def test_two_that_put_tasks_of_one_claim_back_at_the_same_moment_leave_the_others(
    worker, other_connection, in_background, put_back
):
    # Given
    put(3)
    first, second, third = take(worker)
    other_connection.set_autocommit(False)
    put_back(other_connection, first)

    # When
    result = in_background(lambda connection: put_back(connection, second))
    wait_until(waiting_for_locks, what="the wait of the second one")
    other_connection.commit()
    other_connection.set_autocommit(True)

    # Then
    assert result() == 1
    ((_, ids),) = claimed().items()
    assert [id for id in ids if id] == [third.id]
    assert in_place()


def test_a_rescue_skips_a_claim_whose_outcome_is_not_committed_and_finds_it_later(worker, other_connection):
    # Given
    put(2)
    first, second = take(worker)
    other_connection.set_autocommit(False)
    assert end(first, connection=other_connection) == 1

    # When
    rescue.rescue(current(), [worker], reason="it was killed", max_crashes=3, error_ttl=9.0)
    other_connection.rollback()
    other_connection.set_autocommit(True)

    # Then: nothing was rescued, and nothing is lost
    assert {state(first.id), state(second.id)} == {State.RUNNING}
    rescue.rescue(current(), [], reason="it was killed", max_crashes=3, error_ttl=9.0)
    assert [stored(task.id).lost for task in (first, second)] == [1, 1]
    assert claimed() == {}
    assert in_place()


def test_a_rescuer_soon_looks_again_for_a_claim_that_was_locked(other_connection):
    # Given: a worker that is gone, with an outcome that is not committed
    registration = Registration(WorkerOptions(), ())
    rescuer = Rescuer(registration, Chores(), lambda: None)
    dead = sign_on(host=registration.identity.host, boot_id=registration.identity.boot_id, pid=2**22 - 1)
    registration.sign_on(current())
    registration.beat(current(), idle=False)
    put(2)
    first, second = take(dead)
    other_connection.set_autocommit(False)
    assert end(first, connection=other_connection) == 1

    # When
    rescuer.run_once(current())
    assert {state(first.id), state(second.id)} == {State.RUNNING}
    other_connection.rollback()
    other_connection.set_autocommit(True)
    assert rescuer.run_once(current()) < 1

    # Then
    assert {state(first.id), state(second.id)} == {State.READY}


def test_an_outcome_that_comes_after_a_rescue_is_refused(worker):
    put(2)
    first, second = take(worker)
    rescue.rescue(current(), [worker], reason="it was killed", max_crashes=3, error_ttl=9.0)
    assert end(first, second) == 0
    assert in_place()


def test_the_others_of_a_claim_are_rescued_while_one_is_locked(worker, other_connection):
    # Given
    put(3)
    locked, *others = take(worker)
    other_connection.set_autocommit(False)
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": locked.id})

    # When
    rescue.rescue(current(), [worker], reason="it was killed", max_crashes=3, error_ttl=9.0)

    # Then
    assert {state(task.id) for task in others} == {State.READY}
    assert state(locked.id) is State.RUNNING
    other_connection.rollback()
    other_connection.set_autocommit(True)
    rescue.rescue(current(), [], reason="it was killed", max_crashes=3, error_ttl=9.0)
    assert state(locked.id) is State.READY
    assert claimed() == {}
    assert in_place()


def test_in_a_snapshot_an_outcome_does_not_conflict_with_the_others_of_its_claim(worker):
    # Given: a transaction that sees a snapshot, and another task of the claim that is put back meanwhile
    put(2)
    task, other = take(worker)
    with transaction.atomic():
        execute(current(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows(current(), "SELECT 1 FROM autotask_task")
        _elsewhere(lambda: release.release(current(), [Release(other.id, other.fence)]))

        # Then
        assert end(task, in_snapshot=True) == 1
    assert state(task.id) is State.DONE


def test_in_a_snapshot_an_outcome_conflicts_with_its_own_release(worker):
    put(2)
    task, _ = take(worker)
    with pytest.raises(OperationalError), transaction.atomic():
        execute(current(), "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        rows(current(), "SELECT 1 FROM autotask_task")
        _elsewhere(lambda: release.release(current(), [Release(task.id, task.fence)]))
        end(task, in_snapshot=True)
    assert state(task.id) is State.READY


def _elsewhere(act):
    def run():
        act()
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(patient(20))


def test_a_ready_row_that_was_written_and_is_as_before_is_not_changed_without_its_task(other_connection, in_background):
    # Given: somebody gives a task the priority that it has
    (id,) = put()
    other_connection.set_autocommit(False)
    assert bring_forward.prioritize(other_connection, [id], 0) == [id]

    # When
    result = in_background(lambda connection: bring_forward.prioritize(connection, [id], 5))
    wait_until(waiting_for_locks, what="the wait of the second one")
    other_connection.commit()
    other_connection.set_autocommit(True)

    # Then
    assert result() in ([], [id])
    assert in_place()


def test_many_that_claim_cancel_end_and_put_back_lose_nothing(in_threads):
    # Given
    ids = put(300)
    me = sign_on()

    def act(connection, number):
        done = 0
        if number % 2:
            for id in ids[number::4]:
                done += cancel.cancel(connection, id) is Cancellation.CANCELLED
            return done
        while tasks := take(me, limit=7, connection=connection):
            back, rest = tasks[: len(tasks) // 3], tasks[len(tasks) // 3 :]
            release.release(connection, [Release(task.id, task.fence, delay=3600.0) for task in back])
            done += end(*rest, connection=connection, state=State.CANCELLED)
        return done

    # When
    in_threads(act, times=4)

    # Then: each has ended, or waits for its moment
    assert count("autotask_result") + count("autotask_task WHERE state = 0") == 300
    assert count("autotask_ready") == 0
    forgotten.reconcile(current(), me, [])
    assert claimed() == {}
    assert in_place()
