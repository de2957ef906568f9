"""Held tasks: who waits at a gate, who may pass, and what is left when the reason is gone."""

import time
import uuid

import pytest
from django.db import transaction

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store import (
    cancel,
    enqueue,
    expiring,
    finish,
    gates,
    paused_tasks,
    promote,
    release,
    requeue,
    rescue,
    sweep,
)
from autotask.store.connection import current, execute, rows
from autotask.store.finish import HandingOn
from autotask.store.gates import Present
from autotask.store.release import Release
from autotask.task import THREAD, State
from tests.helpers import wait_until
from tests.integration.store.shapes import count, edit, new_task, outcome, sign_on, state, take

pytestmark = pytest.mark.django_db(transaction=True)

A = LimitGate("limit:a", "a", 1)
B = LimitGate("limit:b", "b", 2)
ALL = LimitGate("limit:*", "*", 3)


@pytest.fixture
def worker(transactional_db):
    return sign_on()


def hold(*gates, count=1, **changes):
    """Insert tasks with gates and return their ids."""
    tasks = [new_task(**changes)._replace(flow=Flow(gates)) for _ in range(count)]
    assert enqueue.insert_flowing(current(), tasks) == {task.id for task in tasks}
    return [task.id for task in tasks]


def admit(present=None, room=100):
    """Look at the gates until no mark is due, and return how many tasks became ready."""
    ready = 0
    while (admitted := gates.admit(current(), present or Present(), room={THREAD: room})).more:
        ready += admitted.ready
    return ready


def end(*tasks, slots=None, state=State.DONE):
    handing_on = HandingOn(slots or {})
    outcomes = [outcome(task, state) for task in tasks]
    assert finish.end(current(), outcomes, now=time.monotonic(), error_ttl=1.0, handing_on=handing_on) == len(tasks)
    return handing_on.admitted


def states(ids):
    return [state(id) for id in ids]


def taken(gate):
    """Return the tasks that have slots of a gate, by slot."""
    sql = """
        SELECT s.number, s.task_id FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
        WHERE s.gate = %(gate)s ORDER BY s.number
    """
    return dict(rows(current(), sql, {"gate": gate}))


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [A, RateGate("rate:a", "a", 1.0, 5)], ids=["limit", "rate"])
def test_who_lets_tasks_pass_does_not_wait_for_the_disk(gate, worker):
    hold(gate)
    with transaction.atomic():
        assert gates.admit(current(), Present(), room={THREAD: 1}).ready == 1
        assert rows(current(), "SHOW synchronous_commit") == [("off",)]
    assert rows(current(), "SHOW synchronous_commit") == [("on",)]


def test_a_task_with_a_gate_is_held_until_a_worker_admits_it(worker):
    # Given
    (id,) = hold(A)
    assert (state(id), take(worker)) == (State.HELD, [])

    # When
    assert admit() == 1

    # Then
    assert (state(id), taken("limit:a")) == (State.READY, {1: id})
    assert [task.id for task in take(worker)] == [id]
    assert count("autotask_mark") == 0


def test_as_many_pass_as_there_are_slots_best_first(worker):
    later = hold(B, count=2)
    urgent = hold(B, count=1, priority=5)
    assert admit() == 2
    assert (states(urgent), states(later)) == ([State.READY], [State.READY, State.HELD])


def test_the_slot_of_a_task_that_ends_goes_to_the_next_one(worker):
    first, second, third = hold(A, count=3)
    admit()
    (task,) = take(worker)
    assert (task.id, task.flow is not None) == (first, True)
    assert end(task) == 1
    assert (states([second, third]), taken("limit:a")) == ([State.READY, State.HELD], {1: second})
    assert (count("autotask_slot"), count("autotask_mark")) == (1, 0)


def test_a_slot_that_nobody_wants_leaves_a_mark(worker):
    hold(A)
    admit()
    assert end(*take(worker)) == 0
    assert (taken("limit:a"), count("autotask_mark")) == ({}, 1)
    (later,) = hold(A)
    assert admit() == 1
    assert taken("limit:a") == {1: later}


def test_a_failure_frees_the_slot_and_the_retry_has_to_wait_for_another(worker):
    # Given
    first, second = hold(A, count=2)
    admit()
    (task,) = take(worker)

    # When
    retried = finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic())

    # Then
    assert (retried, admit(), states([first, second])) == (1, 1, [State.SCHEDULED, State.READY])
    promote.promote(current())
    assert (admit(), states([first, second])) == (0, [State.HELD, State.READY])
    assert end(*take(worker)) == 1
    assert state(first) is State.READY


@pytest.mark.parametrize(("delay", "expected"), [(0.0, State.READY), (60.0, State.SCHEDULED)])
def test_a_released_task_keeps_its_slot_only_if_it_is_ready(worker, delay, expected):
    first, second = hold(A, count=2)
    admit()
    (task,) = take(worker)
    release.release(current(), [Release(task.id, task.fence, delay)])
    admit()
    assert states([first, second]) == [expected, State.HELD if expected is State.READY else State.READY]


def test_a_rescued_task_keeps_its_slot_and_a_suspect_that_has_to_wait_gives_it_up(worker):
    first, second = hold(A, count=2)
    admit()
    for expected in ([State.READY, State.HELD], [State.SCHEDULED, State.READY]):
        dead = sign_on()
        take(dead, which="true")
        rescue.rescue(current(), [dead], reason="dead", max_crashes=5, error_ttl=1.0)
        admit()
        assert states([first, second]) == expected


def test_a_task_that_killed_too_many_workers_frees_its_slot(worker):
    _first, second = hold(A, count=2)
    admit()
    dead = sign_on()
    take(dead)
    rescue.rescue(current(), [dead], reason="dead", max_crashes=1, error_ttl=1.0)
    assert (admit(), state(second)) == (1, State.READY)


def test_cancelled_tasks_free_their_places(worker):
    first, second, third = hold(A, count=3)
    admit()
    assert cancel.cancel(current(), second) is cancel.Cancellation.CANCELLED
    assert cancel.cancel(current(), first) is cancel.Cancellation.CANCELLED
    assert (admit(), states([first, second, third])) == (1, [State.CANCELLED, State.CANCELLED, State.READY])


def test_a_task_that_is_put_back_waits_at_its_gate_again(worker):
    first, second = hold(A, count=2)
    admit()
    end(*take(worker), state=State.ERROR)
    assert requeue.requeue(current(), first)
    assert (admit(), states([first, second])) == (0, [State.HELD, State.READY])


def test_a_scheduled_task_waits_at_its_gate_when_it_is_due(worker):
    hold(A)
    (later,) = hold(A, delay=0.05)
    admit()
    assert state(later) is State.SCHEDULED
    time.sleep(0.06)
    promote.promote(current())
    assert (admit(), state(later)) == (0, State.HELD)
    assert end(*take(worker)) == 1


def test_all_gates_must_be_passed_and_the_slots_of_earlier_ones_are_kept(worker):
    # Given
    held = hold(A, ALL, count=2) + hold(B, ALL, count=3)

    # When
    admit()

    # Then
    assert states(held) == [State.READY, State.HELD, State.READY, State.READY, State.HELD]
    assert (len(taken("limit:a")), len(taken("limit:b")), len(taken("limit:*"))) == (1, 2, 3)
    tasks = take(worker)
    end(*[task for task in tasks if task.id == held[2]])
    assert (admit(), state(held[4])) == (1, State.READY)


def test_everything_drains_with_several_gates(worker):
    held = hold(A, ALL, count=5) + hold(B, ALL, count=5) + hold(ALL, count=5)
    admit()
    for _ in range(100):
        if not (tasks := take(worker, limit=2)):
            break
        assert len(taken("limit:*")) <= 3
        end(*tasks)
        admit()
    assert set(states(held)) == {State.DONE}
    admit()
    assert count("autotask_mark") == 0


def test_the_present_number_of_slots_counts(worker):
    held = hold(A, count=5)
    assert admit(Present({"a": 3})) == 3
    tasks = take(worker)
    assert end(*tasks, slots={"a": 1}) == 1
    assert (admit(Present({"a": 1})), states(held[3:])) == (0, [State.READY, State.HELD])


def test_a_paused_limit_lets_nobody_pass(worker):
    hold(A, count=2)
    admit()
    execute(current(), "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('limit', 'a', clock_timestamp())")
    assert (end(*take(worker)), admit()) == (0, 0)


def test_a_paused_task_does_not_keep_others_waiting(worker):
    # Given
    paused = hold(A, count=3, name="tests.paused")
    first, second = hold(A, count=2)
    execute(
        current(),
        "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('task', 'tests.paused', clock_timestamp())",
    )

    # When
    assert admit() == 1

    # Then
    assert (states(paused), states([first, second])) == ([State.HELD] * 3, [State.READY, State.HELD])
    assert rows(current(), "SELECT DISTINCT gate, passed FROM autotask_live WHERE name = 'tests.paused'") == [
        ("pause:tests.paused", 0)
    ]
    assert (end(*take(worker)), state(second)) == (1, State.READY)


def test_one_look_takes_many_paused_tasks_out_of_the_way(worker):
    # Given
    hold(A, count=3 * paused_tasks.PIECE, name="tests.paused")
    (other,) = hold(A)
    execute(
        current(),
        "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('task', 'tests.paused', clock_timestamp())",
    )

    # When
    gates.admit(current(), Present(), room={})

    # Then: the second look finds nobody else
    assert gates.admit(current(), Present(), room={}).ready == 1
    assert state(other) is State.READY


def test_two_sessions_never_give_the_same_slot_away(in_threads, worker):
    held = hold(LimitGate("limit:few", "few", 7), count=40)
    execute(current(), "INSERT INTO autotask_mark (gate, at) SELECT 'limit:few', now() FROM generate_series(1, 200)")

    def look(connection, number):
        return sum(gates.admit(connection, Present(), room={THREAD: 100}).ready for _ in range(20))

    assert sum(in_threads(look, 8)) + admit() == 7
    assert (len(taken("limit:few")), states(held).count(State.READY)) == (7, 7)


# --- rates ----------------------------------------------------------------------------------------------------------


def rate(interval=60.0, burst=2.0, cost=1.0, key="rate:r"):
    return RateGate(key, "r", interval, burst, cost)


def marked_in():
    return [
        float(seconds) for (seconds,) in rows(current(), "SELECT extract(epoch FROM at - now()) FROM autotask_mark")
    ]


def test_as_many_pass_as_there_are_tokens_and_the_gate_is_marked_for_the_next(worker):
    held = hold(rate(), count=4)
    assert admit() == 2
    assert states(held) == [State.READY] * 2 + [State.HELD] * 2
    assert [round(seconds) for seconds in marked_in()] == [60]


def test_tokens_come_back_with_time(worker):
    held = hold(rate(), count=4)
    admit()
    execute(current(), "UPDATE autotask_bucket SET full_at = full_at - interval '61 s'")
    execute(current(), "UPDATE autotask_mark SET at = now()")
    assert (admit(), states(held)) == (1, [State.READY] * 3 + [State.HELD])


def test_a_task_waits_until_there_are_enough_tokens_for_it(worker):
    hold(rate(burst=5.0, cost=3.0), count=2)
    assert admit() == 1
    assert [round(seconds) for seconds in marked_in()] == [60]


@pytest.mark.parametrize(
    ("interval", "burst", "saved"),
    [(0.005, 20.0, 12), (0.005, 40.0, 32), (0.001, 20.0, 12), (0.02, 5.0, 3), (0.1, 5.0, 5), (0.001, 1.0, 1)],
)
def test_a_bucket_saves_no_tokens_of_the_time_by_which_tasks_may_start_late_but_most_of_the_burst(
    worker, interval, burst, saved
):
    hold(rate(interval=interval, burst=burst), count=100)
    assert gates.admit(current(), Present(), room={THREAD: 100}).ready == saved


def test_a_closed_bucket_lets_nobody_pass_until_it_opens(worker):
    execute(
        current(),
        "INSERT INTO autotask_bucket (gate, full_at, closed_until) VALUES ('rate:r', now(), now() + interval '30 s')",
    )
    hold(rate())
    assert (admit(), [round(seconds) for seconds in marked_in()]) == (0, [30])


def test_a_worker_without_room_draws_nothing(worker):
    hold(rate(), count=3)
    assert gates.admit(current(), Present(), room={THREAD: 0}).ready == 0
    assert (admit(room=1), count("autotask_bucket")) == (2, 1)


def test_two_sessions_never_draw_the_same_token(in_threads, worker):
    held = hold(rate(burst=7.0), count=40)

    def look(connection, number):
        ready = 0
        for _ in range(10):
            execute(connection, "INSERT INTO autotask_mark (gate, at) VALUES ('rate:r', now())")
            ready += gates.admit(connection, Present(), room={THREAD: 100}).ready
        return ready

    assert sum(in_threads(look, 8)) + admit() == 7
    assert states(held).count(State.READY) == 7


def test_a_limit_before_a_rate_keeps_its_slot(worker):
    held = hold(A, rate(burst=1.0), count=3)
    admit()
    assert states(held) == [State.READY, State.HELD, State.HELD]
    end(*take(worker))
    admit()
    assert (states(held[1:]), taken("limit:a")) == ([State.HELD, State.HELD], {1: held[1]})
    assert uuid.UUID(str(held[1]))


def test_a_look_that_cannot_admit_all_who_may_pass_asks_for_another(worker):
    many = LimitGate("limit:many", "many", 1000)
    hold(many, count=700)
    assert admit(room=3) == 700


def test_a_task_that_comes_back_has_one_slot_only(worker):
    # Given: a task that had the second slot
    first, second = hold(B, count=2)
    admit()
    tasks = {task.id: task for task in take(worker)}
    finish.retry(current(), [outcome(tasks[second], State.RETRY)], now=time.monotonic())
    end(tasks[first])

    # When
    promote.promote(current())
    admit()
    assert list(taken("limit:b").values()) == [second]

    # Then
    (third,) = hold(B)
    admit()
    assert states([second, third]) == [State.READY, State.READY]


def test_a_slot_is_handed_on_to_a_task_that_comes_back_and_has_another_one(worker):
    first, second = hold(B, count=2)
    admit()
    tasks = {task.id: task for task in take(worker)}
    finish.retry(current(), [outcome(tasks[first], State.RETRY)], now=time.monotonic())
    promote.promote(current())
    assert end(tasks[second]) == 1
    (third,) = hold(B)
    admit()
    assert states([first, third]) == [State.READY, State.READY]


def test_a_task_that_an_older_worker_has_put_back_does_not_wait_for_its_own_slot(worker):
    (id,) = hold(A)
    admit()
    take(worker)
    edit("UPDATE autotask_task SET state = 0, ready_at = NULL")
    execute(current(), "DELETE FROM autotask_claim")
    promote.promote(current())
    assert (admit(), state(id)) == (1, State.READY)


def test_a_faster_rate_does_not_wait_for_the_bucket_of_a_slow_one(worker):
    slow, fast = Present(rates={"r": (3600.0, 10.0)}), Present(rates={"r": (0.01, 10.0)})
    hold(RateGate("rate:r", "r", 3600.0, 10.0), count=11)
    assert admit(slow) == 10
    execute(current(), "UPDATE autotask_mark SET at = clock_timestamp()")
    passed = admit(fast)  # 0, unless this took so long that there is a token already
    time.sleep(0.1)
    assert passed + admit(fast) == 1


def test_tasks_that_need_less_than_a_token_all_pass(worker):
    hold(rate(burst=1.0, cost=0.0), count=50)
    assert admit() == 50


def test_tasks_of_a_pool_without_room_draw_nothing_and_are_looked_at_again(worker):
    (id,) = hold(rate(), executor="coroutine")
    assert gates.admit(current(), Present(), room={THREAD: 5, "coroutine": 0}).ready == 0
    assert 0 < marked_in()[0] < 0.3
    execute(current(), "UPDATE autotask_mark SET at = now()")
    assert gates.admit(current(), Present(), room={THREAD: 0, "coroutine": 1}).ready == 1
    assert state(id) is State.READY


# --- gates that the database refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", [LimitGate("limit:bad", "bad", 1), rate(key="rate:bad")], ids=["limit", "rate"])
def test_a_gate_that_is_refused_does_not_hold_up_others(worker, refuse, gate):
    # Given
    refuse("autotask_task", "UPDATE", "OLD.gate IN ('limit:bad', 'rate:bad')")
    (bad,), good = hold(gate), hold(A) + hold(rate())

    # When
    refused = gates.refusals()
    ready = sum(gates.admit(current(), Present(), room={THREAD: 10}, refused=refused).ready for _ in range(2))

    # Then
    assert (ready, states(good), state(bad)) == (2, [State.READY] * 2, State.HELD)
    assert count("autotask_mark") == 1


def test_a_limit_that_is_not_a_number_does_not_hold_up_others(worker):
    (bad,), (good,) = hold(LimitGate("limit:bad", "bad", "one")), hold(A)
    assert gates.admit(current(), Present(), room={THREAD: 10}).ready == 1
    assert states([bad, good]) == [State.HELD, State.READY]


# --- what nobody would look at otherwise ----------------------------------------------------------------------------


def test_a_mark_that_has_become_due_a_moment_ago_ends_the_sleep(worker):
    execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES ('rate:r', clock_timestamp() - interval '10 ms')")
    assert promote.promote(current()) == (0, pytest.approx(0.002))


def test_held_tasks_that_have_expired_end_and_free_their_slots(worker):
    # Given: one that has a slot and waits at another gate, one at its first gate, one that is paused, and others
    b = LimitGate("limit:b", "b", 1)
    (busy,) = hold(b)
    (first,) = hold(A, b)
    admit()
    (second,), (third,), (later,), (never,) = hold(A), hold(A), hold(A), hold(A)
    edit("UPDATE autotask_task SET gate = 'pause:tests.task' WHERE id = %(id)s", {"id": third})
    ago = "UPDATE autotask_task SET expires_at = now() - interval '1 s' WHERE id = ANY(%(ids)s)"
    edit(ago, {"ids": [busy, first, second, third]})
    edit("UPDATE autotask_task SET expires_at = now() + interval '60 s' WHERE id = %(id)s", {"id": later})
    assert sweep.mark(current())[2] < 0

    # Then
    assert expiring.end(current()) == 3
    assert expiring.end(current()) == 0
    ended = rows(current(), "SELECT id, state, error_message FROM autotask_result")
    assert {row[0] for row in ended} == {first, second, third}
    assert {row[1:] for row in ended} == {(State.CANCELLED, "expired: it was held for longer than its time")}
    assert 50 < sweep.mark(current())[2] < 60
    assert (admit(), states([later, never, busy])) == (1, [State.READY, State.HELD, State.READY])
    assert sweep.mark(current())[2] is None


def test_the_sweep_has_distant_marks_looked_at_and_keeps_their_number(worker):
    slow, fast = Present(rates={"r": (3600.0, 1.0)}), Present(rates={"r": (0.01, 1.0)})
    first, second = hold(RateGate("rate:r", "r", 3600.0, 1.0), count=2)
    admit(slow)
    for _ in range(3):
        sweep.mark(current())
        assert (admit(slow), count("autotask_mark")) == (0, 1)
    sweep.mark(current())
    wait_until(lambda: admit(fast), what="the token of the fast rate")
    assert states([first, second]) == [State.READY, State.READY]


def test_a_failed_task_that_is_to_be_cancelled_waits_at_no_gate(worker):
    first, second = hold(A, count=2)
    admit()
    (task,) = take(worker)
    cancel.cancel(current(), first)
    finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic())
    admit()
    promote.promote(current())
    assert states([first, second]) == [State.READY, State.READY]
    tasks = {task.id: task for task in take(worker)}
    assert end(tasks[first], state=State.CANCELLED) == 0
    assert taken("limit:a") == {1: second}


def test_whoever_waits_for_tokens_keeps_no_slot_of_a_shared_limit(worker):
    # Given
    waiting = hold(rate(burst=1.0), ALL, count=5)
    admit()
    assert (states(waiting), len(taken("limit:*"))) == ([State.READY] + [State.HELD] * 4, 1)

    # When
    others = hold(ALL, count=2)

    # Then
    assert (admit(), states(others)) == (2, [State.READY] * 2)


def test_nobody_draws_a_token_who_would_then_wait_for_a_slot(worker):
    # Given
    busy = hold(ALL, count=2)
    admit()

    # When
    held = hold(rate(burst=5.0), ALL, count=3)

    # Then
    assert (admit(), states(held)) == (1, [State.READY, State.HELD, State.HELD])
    assert rows(current(), "SELECT gate FROM autotask_live WHERE state = 8") == [("rate:r",)] * 2
    end(*[task for task in take(worker) if task.id in busy])
    execute(current(), "UPDATE autotask_mark SET at = now()")
    assert (admit(), states(held)) == (2, [State.RUNNING, State.READY, State.READY])
