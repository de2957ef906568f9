"""The rows of the held table: whoever deletes one acts on the task, and all others leave it alone."""

import time

import pytest

from autotask.flow import Flow, LimitGate
from autotask.store import (
    bring_forward,
    cancel,
    enqueue,
    expiring,
    find,
    finish,
    follow,
    forgotten,
    gates,
    overfull,
    paused_tasks,
    release,
    rescue,
    sweep,
    unique,
)
from autotask.store.cancel import Cancellation
from autotask.store.connection import current, execute, rows
from autotask.store.finish import HandingOn
from autotask.store.follow import Wanted
from autotask.store.gates import Present
from autotask.store.release import Release
from autotask.store.unique import Terms
from autotask.task import State
from tests.faults.flow_state import MISPLACED
from tests.helpers import wait_until
from tests.integration.held import pause
from tests.integration.store.shapes import count, new_task, outcome, sign_on, state, take, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)

A = LimitGate("limit:a", "a", 1)


@pytest.fixture
def worker(transactional_db):
    """A worker that runs a task with the only slot of a limit."""
    id = sign_on()
    hold()
    admit()
    take(id)
    return id


@pytest.fixture
def open_transaction(other_connection):
    """A connection with a transaction, which ends with the test."""
    other_connection.set_autocommit(False)
    yield other_connection
    other_connection.rollback()
    other_connection.set_autocommit(True)


def hold(unique_key=None, **changes):
    gate = changes.pop("gate", A)
    task = new_task(**changes)._replace(flow=Flow((gate,), unique_key))
    assert enqueue.insert_flowing(current(), [task]) == {task.id}
    return task.id


def admit():
    while gates.admit(current(), Present(), room={"": 100}).more:
        pass


def ahead(worker, connection=None):
    wanted = [Wanted(A.key, 10, 1)]
    return follow.follow(connection or current(), worker, wanted, queues=["default"], slots={})[A.key]


def in_place():
    """Whether each task is in just one place."""
    return rows(current(), MISPLACED) == []


def version(id):
    """Return which version of the row of a task this is, and its own state."""
    return rows(current(), "SELECT xmin::text, ctid::text, state FROM autotask_task WHERE id = %(id)s", {"id": id})[0]


def test_the_row_of_a_task_stays_as_it_is_when_it_becomes_a_follower(worker):
    # Given
    id = hold()
    before = version(id)

    # When
    (follower,) = ahead(worker)

    # Then
    assert (follower.id, version(id)) == (id, before)
    assert (state(id), find.states(current(), [id])) == (State.RUNNING, {id: State.RUNNING})
    assert count("autotask_held") == 0
    assert in_place()


BACK = {
    "released": lambda worker, task: release.release(current(), [Release(task.id, task.fence)]),
    "reconciled": lambda worker, task: forgotten.reconcile(current(), worker, []),
    "rescued": lambda worker, task: rescue.rescue(current(), [worker], reason="died", max_crashes=3, error_ttl=1.0),
}


@pytest.mark.parametrize("how", BACK)
def test_a_follower_that_is_put_back_waits_at_its_gate_again(worker, how):
    # Given
    hold()
    (task,) = ahead(worker)

    # When
    BACK[how](worker, task)

    # Then
    assert state(task.id) is State.HELD
    assert rows(current(), "SELECT id FROM autotask_held WHERE gate = 'limit:a'") == [(task.id,)]
    assert in_place()


def test_a_follower_whose_key_is_free_when_it_begins_loses_it(worker):
    hold(unique_key="waiting:tests.task(1)")
    (task,) = ahead(worker)
    assert rows(current(), "SELECT unique_key FROM autotask_task WHERE id = %(id)s", {"id": task.id}) == [(None,)]


def replace(connection, id):
    """Replace the arguments of the task of a key; return whether that was possible."""
    task = new_task()._replace(flow=Flow((A,), "key"))
    terms = Terms(on_conflict="replace", renew=lambda new, id, _: new._replace(id=id))
    found = unique.store(connection, [task], terms)
    return found[task.id].renewed is not None


#: Acts of others on a task that waits at a gate, and what they return if a worker has claimed it meanwhile.
ACTS = {
    "cancel": (lambda connection, id: cancel.cancel(connection, id), Cancellation.REQUESTED),
    "prioritize": (lambda connection, id: bring_forward.prioritize(connection, [id], 9), []),
    "replace": (replace, False),
}


@pytest.mark.parametrize("act", ACTS)
def test_an_act_on_a_task_waits_for_the_claim_that_makes_it_a_follower_and_leaves_it_alone(
    worker, open_transaction, in_background, act
):
    # Given
    id = hold(unique_key="key")
    assert [task.id for task in ahead(worker, open_transaction)] == [id]
    do, expected = ACTS[act]

    # When
    result = in_background(lambda connection: do(connection, id))
    wait_until(waiting_for_locks, what="the wait for the row of the task")
    open_transaction.commit()

    # Then
    assert result() == expected
    assert state(id) is State.RUNNING
    assert in_place()


#: Acts on all tasks that wait, which do not wait for locks.
MANY = {
    "follow": lambda worker: len(ahead(worker)),
    "expire": lambda worker: expiring.end(current()),
    "divert": lambda worker: paused_tasks.divert(current(), A.key),
    "drop": lambda worker: overfull.clear(current(), A.key, {}) or count("autotask_result"),
    "admit": lambda worker: gates.admit(current(), Present({"a": 9}), room={"": 9}).ready,
}


@pytest.mark.parametrize("act", MANY)
def test_a_task_that_somebody_else_is_acting_on_is_left_out(worker, open_transaction, act):
    # Given
    if act == "divert":
        pause("task", "tests.task")
    gate = A._replace(when_full="drop") if act == "drop" else A
    id, other = (hold(gate=gate, expires=0.0) for _ in range(2))
    cancel.cancel_waiting(open_transaction, id)

    # When
    assert MANY[act](worker) == 1

    # Then
    assert state(id) is State.HELD
    assert state(other) is not State.HELD or act == "divert"
    open_transaction.commit()
    assert state(id) is State.CANCELLED
    assert in_place()


@pytest.mark.parametrize("act", [act for act in MANY if act != "follow"])
def test_an_act_that_writes_tasks_does_not_wait_for_one_that_a_transaction_has_locked(worker, open_transaction, act):
    # Given
    if act == "divert":
        pause("task", "tests.task")
    gate = A._replace(when_full="drop") if act == "drop" else A
    id, other = (hold(gate=gate, expires=0.0) for _ in range(2))
    execute(open_transaction, "SELECT FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": id})

    # When
    assert MANY[act](worker) == 1

    # Then
    assert state(id) is State.HELD
    assert in_place()


def test_the_slot_of_a_task_that_ends_passes_over_a_locked_one(open_transaction):
    # Given
    worker = sign_on()
    hold()
    admit()
    (task,) = take(worker)
    first, second = hold(), hold()
    execute(open_transaction, "SELECT FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": first})

    # When
    finish.end(current(), [outcome(task)], now=time.monotonic(), error_ttl=1.0, handing_on=HandingOn({}))

    # Then
    assert (state(first), state(second)) == (State.HELD, State.READY)
    assert in_place()


def test_tasks_that_somebody_has_deleted_by_hand_hold_nobody_up():
    # Given
    gone = [hold() for _ in range(3)]
    id = hold()
    execute(current(), "DELETE FROM autotask_task WHERE id = ANY(%(ids)s)", {"ids": gone})

    # When
    admit()

    # Then
    assert state(id) is State.READY
    assert count("autotask_held") == 3
    hold()
    sweep.mark(current())
    assert count("autotask_held") == 1
    assert in_place()


def test_a_task_whose_priority_is_changed_while_admission_looks_at_its_gate_is_admitted_after_that(open_transaction):
    # Given
    id = hold()
    assert bring_forward.prioritize(open_transaction, [id], 9) == [id]
    admit()
    assert state(id) is State.HELD

    # When
    open_transaction.commit()
    admit()

    # Then
    assert state(id) is State.READY
    assert in_place()


@pytest.mark.parametrize("act", ["prioritize", "replace"])
def test_a_task_that_is_paused_leaves_no_mark_that_nobody_takes(act):
    # Given
    id = hold(unique_key="key")
    pause("task", "tests.task")
    assert paused_tasks.divert(current(), A.key) == 1
    admit()

    # When
    do, _ = ACTS[act]
    assert do(current(), id)

    # Then
    assert rows(current(), "SELECT gate FROM autotask_held") == [("pause:tests.task",)]
    assert count("autotask_mark") == 0
    assert in_place()


def test_a_task_keeps_its_place_if_it_gets_the_priority_that_it_has(worker):
    id = hold(priority=3)
    assert bring_forward.prioritize(current(), [id], 3) == [id]
    assert rows(current(), "SELECT rank, id FROM autotask_held") == [(-3, id)]
