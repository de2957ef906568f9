"""Followers as rows: who is claimed ahead of a slot, how it gets the slot of another, and how it is put back."""

import time
import uuid

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store import cancel, enqueue, finish, follow, forgotten, gates, held, release, rescue
from autotask.store.connection import current, execute, rows
from autotask.store.finish import HandingOn
from autotask.store.follow import Wanted
from autotask.store.gates import Present
from autotask.store.release import Release
from autotask.task import THREAD, State
from tests.integration.held import pause
from tests.integration.store.shapes import count, edit, new_task, outcome, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)

A = LimitGate("limit:a", "a", 2)
RATE = RateGate("rate:a", "a", 1.0, 5)


@pytest.fixture
def worker(transactional_db):
    return sign_on()


def hold(*gates, count=1, **changes):
    tasks = [new_task(**changes)._replace(flow=Flow(gates or (A,))) for _ in range(count)]
    enqueue.insert_flowing(current(), tasks)
    return [task.id for task in tasks]


def enqueue_flow(flow):
    task = new_task()._replace(flow=flow)
    enqueue.insert_flowing(current(), [task])
    return [task.id]


def admit(present=None):
    while gates.admit(current(), present or Present(), room={THREAD: 100}).more:
        pass


def begin(worker, number=2):
    """Return claimed tasks with slots."""
    hold(count=number)
    admit()
    tasks = take(worker)
    assert len(tasks) == number
    return tasks


def ahead(worker, number=10, queues=("default",), slots=None):
    return follow.follow(current(), worker, [Wanted("limit:a", number, 2)], queues=queues, slots=slots or {})["limit:a"]


def end(*tasks, heirs=None, slots=None, ended=State.DONE):
    named = {task.fence: (heir.id, heir.fence) for task, heir in (heirs or {}).items()}
    handing_on = HandingOn(slots or {}, named)
    outcomes = [outcome(task, ended) for task in tasks]
    assert finish.end(current(), outcomes, now=time.monotonic(), error_ttl=1.0, handing_on=handing_on) == len(tasks)
    return handing_on


def taken():
    sql = """
        SELECT s.number, s.task_id FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
        WHERE s.gate = 'limit:a' ORDER BY s.number
    """
    return dict(rows(current(), sql))


def position(id):
    """Return the state, the gates passed, and the attempts of a task."""
    task = stored(id)
    return task.state, task.passed, task.attempt


# --- claiming -------------------------------------------------------------------------------------------------------


def test_followers_are_claimed_in_the_order_of_the_gate_and_take_no_slots(worker):
    # Given
    holders = begin(worker)
    later, urgent = hold(count=3), hold(priority=5)

    # When
    followers = ahead(worker, 3)

    # Then
    assert [task.id for task in followers] == [*urgent, *later[:2]]
    assert all((task.worker_id, task.attempt, task.flow is not None) == (worker, 1, True) for task in followers)
    assert position(urgent[0]) == (State.RUNNING, 0, 1)
    assert state(later[2]) is State.HELD
    assert set(taken().values()) == {task.id for task in holders}
    assert [task.id for task in ahead(worker)] == [later[2]]


def test_followers_have_their_own_flow_whether_or_not_it_is_that_of_the_holder(worker):
    # Given
    holder, _ = begin(worker)
    hold()
    (unique,) = enqueue_flow(Flow((A,), unique_key="a(1)"))

    # When
    wanted = Wanted("limit:a", 10, 2, holder.flow)
    same, other = follow.follow(current(), worker, [wanted], queues=("default",), slots={})["limit:a"]

    # Then
    assert same.flow == holder.flow
    assert (other.id, Flow.load(other.flow).unique_key) == (unique, "a(1)")


@pytest.mark.parametrize(
    "changes",
    [{"queue": "other"}, {"executor": "process"}, {"payload": bytes(held.SMALL + 1)}],
    ids=["queue", "pool", "size"],
)
def test_nobody_overtakes_a_task_that_may_not_follow(worker, changes):
    begin(worker)
    first, _, _ = hold(), hold(**changes), hold()
    assert [task.id for task in ahead(worker)] == first
    assert ahead(worker) == []


@pytest.mark.parametrize("gates", [(A, RATE), (A._replace(when_full="drop"),)], ids=["another gate", "not waiting"])
def test_only_tasks_that_wait_for_nothing_else_follow(worker, gates):
    begin(worker)
    hold(*gates)
    hold()
    assert ahead(worker) == []


def test_suspects_and_unknown_tasks_do_not_follow(worker):
    begin(worker)
    hold()
    edit("UPDATE autotask_task SET lost = 1 WHERE state = 8")
    assert ahead(worker) == []
    edit("UPDATE autotask_task SET lost = 0, unknown_since = now() WHERE state = 8")
    assert ahead(worker) == []


@pytest.mark.parametrize(
    "paused", [("limit", "a"), ("task", "tests.task"), ("queue", "default"), ("everything", "")], ids=lambda it: it[0]
)
def test_nobody_follows_where_something_is_paused(worker, paused):
    begin(worker)
    hold()
    pause(*paused)
    assert ahead(worker) == []


def test_nobody_follows_while_slots_above_a_lowered_limit_are_taken(worker):
    _, second = begin(worker)
    hold()
    assert ahead(worker, slots={"a": 1}) == []
    end(second, slots={"a": 1})
    assert len(ahead(worker, slots={"a": 1})) == 1


def test_a_worker_whose_lease_has_run_out_gets_no_followers(worker):
    begin(worker)
    hold()
    execute(current(), "UPDATE autotask_worker SET lease_until = now() - interval '1 s'")
    assert ahead(worker) == []


# --- inheriting -----------------------------------------------------------------------------------------------------


def test_the_heir_gets_the_slot_and_those_that_wait_go_on_waiting(worker):
    # Given
    first, second = begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    (waiting,) = hold()
    execute(current(), "DELETE FROM autotask_mark")

    # When
    handing_on = end(first, heirs={first: follower})

    # Then
    assert (handing_on.inherited, handing_on.admitted, handing_on.marked) == ({follower.id}, 0, 0)
    assert set(taken().values()) == {second.id, follower.id}
    assert position(follower.id) == (State.RUNNING, 1, 1)
    assert state(waiting) is State.HELD

    # When: nobody has begun in its slot
    handing_on = end(follower)

    # Then
    assert (handing_on.gates, handing_on.admitted) == (["limit:a"], 1)
    assert (set(taken().values()), state(waiting)) == ({second.id, waiting}, State.READY)


def test_heirs_that_have_ended_are_skipped_and_free_nothing(worker):
    # Given
    first, second = begin(worker)
    hold(count=3)
    one, two, three = ahead(worker)
    execute(current(), "DELETE FROM autotask_mark")

    # When: the outcome of a follower is recorded before that of the task whose slot it had
    handing_on = end(one, heirs={one: three})
    assert (handing_on.inherited, handing_on.marked, count("autotask_mark")) == (set(), 0, 0)
    assert set(taken().values()) == {first.id, second.id}

    # When
    handing_on = end(first, two, heirs={first: three, two: three})

    # Then
    assert (handing_on.inherited, handing_on.marked) == ({three.id}, 0)
    assert set(taken().values()) == {second.id, three.id}


def test_an_heir_that_was_put_back_gets_nothing_and_the_slot_goes_to_the_next(worker):
    first, _ = begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    release.release(current(), [Release(follower.id, follower.fence)])
    handing_on = end(first, heirs={first: follower})
    assert (handing_on.inherited, handing_on.admitted) == (set(), 1)
    assert position(follower.id) == (State.READY, 1, 0)


def test_a_slot_that_the_heir_had_before_a_retry_is_left(worker):
    # Given: a task that still stands in the second slot
    first, second = begin(worker)
    finish.retry(current(), [outcome(second, State.RETRY)], now=time.monotonic())
    edit("UPDATE autotask_task SET state = 8, run_at = now() WHERE id = %(id)s", {"id": second.id})
    (follower,) = ahead(worker)

    # When
    end(first, heirs={first: follower})

    # Then
    assert list(taken().values()) == [second.id]
    assert count("autotask_slot") == 1


# --- putting back ---------------------------------------------------------------------------------------------------


def test_a_released_follower_waits_at_its_gate_again(worker):
    begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    execute(current(), "DELETE FROM autotask_mark")
    release.release(current(), [Release(follower.id, follower.fence)])
    assert position(follower.id) == (State.HELD, 0, 0)
    assert count("autotask_mark") == 1


@pytest.mark.parametrize("put_back", ["release", "reconcile"])
def test_a_follower_that_should_be_cancelled_is_ready_when_it_is_put_back_for_a_worker_to_record_that(worker, put_back):
    # Given
    holders = begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    cancel.cancel(current(), follower.id)

    # When
    if put_back == "release":
        release.release(current(), [Release(follower.id, follower.fence)])
    else:
        forgotten.reconcile(current(), worker, [task.fence for task in holders])

    # Then
    (again,) = take(worker)
    assert (again.id, again.cancel_requested) == (follower.id, True)

    # When
    handing_on = end(again, ended=State.CANCELLED)

    # Then it frees no slot
    assert handing_on.admitted == 0
    assert state(follower.id) is State.CANCELLED
    assert set(taken().values()) == {task.id for task in holders}


def test_followers_that_a_worker_does_not_know_of_wait_at_their_gate_again(worker):
    holders = begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    execute(current(), "DELETE FROM autotask_mark")
    assert forgotten.reconcile(current(), worker, [task.fence for task in holders]) == [follower.id]
    assert position(follower.id) == (State.HELD, 0, 0)
    assert count("autotask_mark") == 1


def test_the_followers_of_a_dead_worker_wait_at_their_gate_again(worker):
    # Given
    holders = begin(worker)
    (follower,) = (hold(), ahead(worker))[1]

    # When
    rescue.rescue(current(), [worker], reason="killed", max_crashes=3, error_ttl=1.0)

    # Then: those that had slots keep them
    assert position(follower.id)[:2] == (State.HELD, 0)
    assert {position(task.id)[:2] for task in holders} == {(State.READY, 1)}
    assert set(taken().values()) == {task.id for task in holders}
    assert rows(current(), "SELECT DISTINCT gate FROM autotask_mark") == [("limit:a",)]


def test_a_follower_that_fails_has_to_wait_for_a_slot(worker):
    begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    finish.retry(current(), [outcome(follower, State.RETRY)], now=time.monotonic())
    assert position(follower.id)[:2] == (State.SCHEDULED, 0)


def test_a_follower_is_asked_to_stop_like_any_claimed_task(worker):
    begin(worker)
    (follower,) = (hold(), ahead(worker))[1]
    assert cancel.cancel(current(), follower.id) is cancel.Cancellation.REQUESTED
    assert cancel.cancel(current(), uuid.uuid4()) is cancel.Cancellation.TOO_LATE
