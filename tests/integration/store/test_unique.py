"""Unique keys: one live task for each, whoever calls at once, and however the task goes on."""

import contextlib
import json
import threading
import time

import pytest
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext

from autotask.exceptions import AlreadyEnqueued
from autotask.flow import Flow, LimitGate
from autotask.flow.plan import Throttle
from autotask.store import cancel, enqueue, finish, forgotten, gates, release, rescue, unique
from autotask.store.connection import current, execute, rows
from autotask.store.gates import Present
from autotask.store.release import Release
from autotask.store.requeue import holder, requeue
from autotask.store.unique import Stored, Terms
from autotask.task import THREAD, State
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import (
    count,
    let_be_ready,
    new_task,
    outcome,
    sign_on,
    state,
    stored,
    take,
    waiting_for_locks,
)

pytestmark = pytest.mark.django_db(transaction=True)

GATE = LimitGate("limit:tests.task", "tests.task", 1)


def unique_task(key="tests.task(7)", gates=(), **changes):
    return new_task(**changes)._replace(flow=Flow(tuple(gates), key))


def renewed(task, id, former):
    return task._replace(id=id)


REPLACE = Terms(on_conflict="replace", renew=renewed)


def call(*tasks, terms=None, tokens=()):
    others = unique.store(current(), tasks, terms or Terms(), tokens)
    return [others.get(task.id) or Stored(task.id, True) for task in tasks]


def one(terms=None, key="tests.task(7)", gates=(), **changes):
    return call(unique_task(key, gates, **changes), terms=terms)[0]


def flow_of(id):
    ((*found,),) = rows(
        current(), "SELECT state, gate, passed, unique_key, arguments FROM autotask_live WHERE id = %(id)s", {"id": id}
    )
    return found


def marks():
    return sorted(gate for (gate,) in rows(current(), "SELECT gate FROM autotask_mark"))


@contextlib.contextmanager
def statements_in_a_savepoint():
    """Give the list of the statements in a block, all of which are between one savepoint and its release."""
    statements = []
    with CaptureQueriesContext(connections["default"]) as captured:
        yield statements
    first, *between, last = [query["sql"] for query in captured]
    assert first.startswith("SAVEPOINT") and last.startswith("RELEASE SAVEPOINT")
    statements.extend(between)


class Changed(Exception):
    """Somebody changed his mind."""


def in_threads(function, times):
    """Call a function at once in threads, each with a connection of its own; return what it returned."""
    results, errors, barrier = [], [], threading.Barrier(times)

    def run(number):
        try:
            current().ensure_connection()
            barrier.wait(20)
            results.append(function(number))
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(60))
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return results


# --- return, raise, replace -----------------------------------------------------------------------------------------


def test_a_key_admits_one_task():
    first, second, other = one(), one(), one(key="tests.task(8)")
    assert (first.created, second.created, other.created) == (True, False, True)
    assert first.id == second.id != other.id
    assert count("autotask_task") == 2


def test_raise_names_the_task_that_is_there_and_stores_nothing():
    # Given
    first = one()
    free, taken = unique_task("tests.task(8)"), unique_task()

    # Then
    with pytest.raises(
        AlreadyEnqueued, match=rf"the task {first.id} is there already, with the unique key tests.task\(7\)"
    ):
        call(free, taken, terms=Terms(on_conflict="raise"))
    assert count("autotask_task") == 1
    with transaction.atomic():
        with pytest.raises(AlreadyEnqueued):
            call(free, taken, terms=Terms(on_conflict="raise"))
        assert count("autotask_task") == 1


def test_many_are_stored_with_one_statement_also_with_the_same_key_twice():
    tasks = [unique_task(f"tests.task({number % 500})") for number in range(1000)]
    with transaction.atomic(), statements_in_a_savepoint() as statements:
        found = call(*tasks)
    assert len(statements) == 2
    assert [one.created for one in found] == [True] * 500 + [False] * 500
    assert [one.id for one in found[500:]] == [one.id for one in found[:500]]
    assert count("autotask_task") == 500


def test_a_free_key_takes_one_statement(django_assert_num_queries):
    with django_assert_num_queries(1):
        one()
    with transaction.atomic(), django_assert_num_queries(1):
        one(key="tests.task(8)")
    with transaction.atomic(), statements_in_a_savepoint() as statements:
        call(*(unique_task(f"tests.task({number})") for number in range(10, 20)))
    assert len(statements) == 1


def test_replace_gives_arguments_and_time_to_the_one_that_waits():
    first = one(arguments="old")
    second = one(REPLACE, arguments="new", payload=b"new", delay=60.0)
    assert (second.id, second.created, second.renewed.payload) == (first.id, False, b"new")
    assert flow_of(first.id) == [State.SCHEDULED, None, None, "tests.task(7)", "new"]
    one(REPLACE, arguments="newer")
    assert flow_of(first.id) == [State.READY, None, None, "tests.task(7)", "newer"]
    assert count("autotask_task") == 1


def test_the_last_of_several_calls_for_one_key_wins():
    found = call(*(unique_task(arguments=str(number)) for number in range(3)), terms=REPLACE)
    assert [one.created for one in found] == [True, False, False]
    assert flow_of(found[0].id)[-1] == "2"


@pytest.mark.parametrize("delay", [0.0, 3600.0])
def test_thousands_are_replaced_with_one_statement_that_does_not_compare_each_with_each(delay):
    # Given
    kind, many = new_task(delay=delay).kind, 1000
    there = [new_task()._replace(kind=kind, key=f"key({number})") for number in range(many)]
    unique.store(current(), there, Terms())

    # When
    params = {**enqueue.flowing_parameters([task._replace(payload=b"new") for task in there]), "at_most": None}
    ((plan,),) = rows(current(), f"EXPLAIN (ANALYZE, FORMAT JSON) {unique.REPLACE}", params)

    # Then
    nodes = list(nodes_of(plan[0]["Plan"] if isinstance(plan, list) else json.loads(plan)[0]["Plan"]))
    assert max(node.get("Rows Removed by Join Filter", 0) for node in nodes) < many
    assert not [node for node in nodes if node["Actual Loops"] >= many and "= ANY" in node.get("Index Cond", "")]
    assert rows(current(), "SELECT count(*) FROM autotask_task WHERE payload = 'new'") == [(many,)]


def nodes_of(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes_of(child)


def test_a_task_that_has_begun_is_never_replaced():
    first = one(arguments="old")
    (task,) = take(sign_on())
    second = one(REPLACE, arguments="new")
    assert (second.id, second.created, second.renewed) == (first.id, False, None)
    finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic())
    assert one(REPLACE, arguments="new").renewed is None
    assert flow_of(first.id)[-1] == "old"


def test_a_released_task_may_be_replaced_as_it_has_not_begun():
    first = one(arguments="old")
    (task,) = take(sign_on())
    release.release(current(), [Release(task.id, task.fence)])
    assert one(REPLACE, arguments="new").id == first.id
    assert flow_of(first.id)[-1] == "new"


@pytest.mark.parametrize("key", ["tests.task(7)", "waiting:tests.task(7)"])
def test_a_task_with_no_more_than_a_key_ends_like_a_plain_one(key):
    first = one(key=key)
    (task,) = take(sign_on())
    assert (task.id, task.flow) == (first.id, None)
    assert finish.end(current(), [outcome(task)], now=time.monotonic(), error_ttl=1.0) == 1
    assert one(key=key).created
    assert count("autotask_mark") == 0


def test_a_task_with_a_gate_or_the_only_one_with_its_key_is_claimed_with_both():
    gated, own_id = unique_task("tests.task(1)", [GATE]), new_task()._replace(flow=Flow((), "tests.task(2)", once=True))
    call(gated, own_id)
    gates.admit(current(), Present(), room={THREAD: 1})
    flows = {task.id: Flow.load(task.flow) for task in take(sign_on())}
    assert flows == {gated.id: gated.flow, own_id.id: own_id.flow}


def test_a_task_that_is_claimed_while_it_is_to_be_replaced_is_left_alone(other_connection):
    # Given
    first = one(arguments="old")
    worker = sign_on()
    rows(other_connection, "SELECT 1 FROM (SELECT set_config('x.y', '1', false)) AS x")
    other_connection.connection.autocommit = False
    (task,) = take(worker, connection=other_connection)

    # When
    replacing = threading.Thread(target=lambda: (one(REPLACE, arguments="new"), connections.close_all()))
    replacing.start()
    wait_until(waiting_for_locks)
    other_connection.connection.commit()
    other_connection.connection.autocommit = True
    replacing.join(patient(20))

    # Then
    assert flow_of(first.id)[-1] == "old" and task.id == first.id


def test_a_claim_that_began_before_a_replacement_does_not_take_the_former_arguments(other_connection, in_background):
    # Given: a claim that waits after it has begun, before it locks its tasks
    worker = sign_on()
    id = one(payload=b"former").id
    execute(other_connection, "BEGIN; SELECT pg_advisory_xact_lock(15)")
    later = "pg_advisory_xact_lock(15) IS NOT NULL"
    claimed = in_background(lambda connection: take(worker, which=later, connection=connection))
    wait_until(waiting_for_locks, what="the wait of the claim")

    # When
    assert one(REPLACE, payload=b"new").id == id
    execute(other_connection, "COMMIT")

    # Then
    assert [task.payload for task in claimed() + take(worker)] == [b"new"]


# --- replace and gates ----------------------------------------------------------------------------------------------


def test_a_held_task_that_is_replaced_keeps_its_place_and_its_gate_is_looked_at():
    first = one(gates=[GATE])
    assert marks() == [GATE.key]
    one(REPLACE, gates=[GATE], arguments="new")
    assert flow_of(first.id) == [State.HELD, GATE.key, 0, "tests.task(7)", "new"]
    assert marks() == [GATE.key] * 2


def test_a_replaced_time_moves_a_task_with_gates():
    first = one(gates=[GATE])
    one(REPLACE, gates=[GATE], delay=60.0)
    assert flow_of(first.id)[:3] == [State.SCHEDULED, GATE.key, 0]
    one(REPLACE, gates=[GATE])
    assert flow_of(first.id)[:3] == [State.HELD, GATE.key, 0]


def test_a_ready_task_with_gates_stays_ready_or_frees_its_slots():
    # Given
    first = one(gates=[GATE])
    let_be_ready(first.id, passed=1, gate=None)
    rows(current(), "DELETE FROM autotask_mark RETURNING 1")

    # Then
    one(REPLACE, gates=[GATE], arguments="new")
    assert flow_of(first.id) == [State.READY, None, 1, "tests.task(7)", "new"]
    assert marks() == []
    one(REPLACE, gates=[GATE], delay=60.0)
    assert flow_of(first.id)[:3] == [State.SCHEDULED, GATE.key, 0]
    assert marks() == [GATE.key]


def test_other_gates_are_passed_from_the_first():
    first = one(gates=[GATE])
    let_be_ready(first.id, passed=1, gate=None)
    rows(current(), "DELETE FROM autotask_mark RETURNING 1")
    other = GATE._replace(key="limit:other", base="other")
    one(REPLACE, gates=[other])
    assert flow_of(first.id)[:3] == [State.HELD, "limit:other", 0]
    assert marks() == ["limit:other", GATE.key]
    one(REPLACE)
    assert flow_of(first.id)[:3] == [State.READY, None, None]


# --- many callers ---------------------------------------------------------------------------------------------------


def test_of_sixteen_callers_one_makes_the_task():
    found = in_threads(lambda number: one(), 16)
    assert sorted(one.created for one in found) == [False] * 15 + [True]
    assert len({one.id for one in found}) == 1 and count("autotask_task") == 1


def test_sixteen_callers_of_many_keys_in_any_order_wait_for_no_circle():
    import random

    def some(number):
        keys = [f"tests.task({key})" for key in range(50)]
        random.Random(number).shuffle(keys)
        for _ in range(10):
            call(*map(unique_task, keys), terms=REPLACE if number % 2 else None)
        return True

    assert in_threads(some, 16) == [True] * 16
    assert count("autotask_task") == 50


def test_each_caller_gets_a_task_while_others_end():
    """The task that has the key may end between the two looks at it."""
    done = threading.Event()
    worker = sign_on()

    def some(number):
        if number == 0:
            while not done.is_set():
                for task in take(worker):
                    finish.end(current(), [outcome(task)], now=time.monotonic(), error_ttl=1.0)
            return None
        return sum(one().created for _ in range(100))

    def all_of_them(number):
        try:
            return some(number)
        finally:
            if number == 1:
                done.set()

    made = in_threads(all_of_them, 5)
    assert count("autotask_task") + count("autotask_result") == sum(filter(None, made))


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_key_that_was_taken_since_the_transaction_began(level):
    """In REPEATABLE READ, the transaction cannot see the task that has the key: PostgreSQL ends it."""

    def late():
        with transaction.atomic():
            execute(current(), f"SET TRANSACTION ISOLATION LEVEL {level}")
            count("autotask_task")
            (first,) = in_threads(lambda number: one(), 1)
            return first, one()

    if level == "READ COMMITTED":
        first, second = late()
        assert first.id == second.id and not second.created
    else:
        with pytest.raises(OperationalError, match="could not serialize access"):
            late()
    assert count("autotask_task") == 1


def test_a_caller_waits_for_the_transaction_that_has_the_key():
    found = []
    with transaction.atomic():
        first = one()
        waiting = threading.Thread(target=lambda: (found.append(one()), connections.close_all()))
        waiting.start()
        wait_until(waiting_for_locks)
        one(key="tests.task(8)")
    waiting.join(patient(20))
    assert [(one.id, one.created) for one in found] == [(first.id, False)]


# --- rolled back, ended, back again ---------------------------------------------------------------------------------


def test_a_rollback_frees_the_key():
    with pytest.raises(Changed), transaction.atomic():
        one()
        raise Changed
    assert one().created
    with transaction.atomic():
        with pytest.raises(Changed), transaction.atomic():
            one(key="tests.task(8)")
            raise Changed
        assert one(key="tests.task(8)").created


@pytest.mark.parametrize("key", ["tests.task(7)", "waiting:tests.task(7)"])
def test_a_key_while_its_task_waits_runs_and_has_ended(key):
    # Given
    first = one(key=key)
    (task,) = take(sign_on())

    # Then
    second = one(key=key)
    assert second.created is key.startswith("waiting:")
    finish.end(current(), [outcome(task)], now=time.monotonic(), error_ttl=1.0)
    assert one(key=key).created is not key.startswith("waiting:")
    assert first.id != one(key=key).id


def retry(task, worker):
    finish.retry(current(), [outcome(task, State.RETRY)], now=time.monotonic())


def release_all(task, worker):
    release.release(current(), [Release(task.id, task.fence)])


def lose_worker(task, worker):
    rescue.rescue(current(), [worker], reason="gone", max_crashes=3, error_ttl=1.0)


def reconcile(task, worker):
    forgotten.reconcile(current(), worker, [])


@pytest.mark.parametrize("back", [retry, release_all, lose_worker, reconcile])
def test_a_task_that_waits_again_keeps_its_key_unless_it_was_for_waiting_only(back):
    # Given
    worker = sign_on()
    whole, waiting = one(key="tests.task(7)"), one(key="waiting:tests.task(8)")
    for task in take(worker):
        back(task, worker)

    # Then
    assert stored(whole.id).state.status == stored(waiting.id).state.status == "waiting"
    assert not one(key="tests.task(7)").created
    again = one(key="waiting:tests.task(8)")
    assert again.created
    assert not one(key="waiting:tests.task(8)").created


def test_a_running_task_goes_back_though_another_one_has_its_key_for_waiting():
    worker = sign_on()
    one(key="waiting:tests.task(7)")
    (task,) = take(worker)
    assert one(key="waiting:tests.task(7)").created
    retry(task, worker)
    assert state(task.id) is State.SCHEDULED


def test_a_cancelled_task_frees_its_key():
    first = one()
    cancel.cancel(current(), first.id)
    assert one().created


def test_a_task_that_is_retried_by_hand_takes_its_key_again():
    first = one()
    cancel.cancel(current(), first.id)
    assert requeue(current(), first.id) is True
    second = one(REPLACE)
    assert (second.id, second.created) == (first.id, False)


@pytest.mark.parametrize("key", ["tests.task(7)", "waiting:tests.task(7)"])
def test_a_task_is_not_retried_by_hand_while_another_one_has_its_key(key):
    first = one(key=key)
    cancel.cancel(current(), first.id)
    second = one(key=key)
    with transaction.atomic():
        assert requeue(current(), first.id) is False
        assert holder(current(), first.id) == (key, second.id)
    cancel.cancel(current(), second.id)
    assert requeue(current(), first.id) is True and holder(current(), first.id) is None


def test_a_key_that_is_taken_while_a_task_is_retried_by_hand():
    # Given
    first = one()
    cancel.cancel(current(), first.id)
    answers = []

    # When
    with transaction.atomic():
        one()
        retrying = threading.Thread(
            target=lambda: (answers.append(requeue(current(), first.id)), connections.close_all())
        )
        retrying.start()
        wait_until(waiting_for_locks)
    retrying.join(patient(20))

    # Then
    assert answers == [False] and state(first.id) is State.CANCELLED


# --- tokens ---------------------------------------------------------------------------------------------------------


def drawn(*keys, burst=1.0, interval=60.0, terms=None, tasks=None):
    tasks = tasks or [new_task() for _ in keys]
    return call(*tasks, terms=terms, tokens=[Throttle(key, interval, burst) for key in keys])


def test_further_calls_return_the_last_task_that_got_a_token():
    (first,), (second,), (other,) = drawn("throttle:a"), drawn("throttle:a"), drawn("throttle:b")
    assert (first.created, second.created, other.created) == (True, False, True)
    assert first.id == second.id


def test_tokens_are_added_as_time_goes_by():
    assert [one.created for one in drawn(*["throttle:a"] * 4, burst=2.0)] == [True, True, False, False]
    rows(current(), "UPDATE autotask_bucket SET full_at = full_at - interval '60 s' RETURNING 1")
    found = drawn(*["throttle:a"] * 3, burst=2.0)
    assert [one.created for one in found] == [True, False, False]
    assert found[2].id == found[0].id


def test_tokens_of_all_keys_are_drawn_with_one_statement():
    with transaction.atomic(), statements_in_a_savepoint() as statements:
        found = drawn(*(f"throttle:{number}" for number in range(1000)))
    assert all(one.created for one in found)
    assert len(statements) <= 3
    with transaction.atomic(), statements_in_a_savepoint() as statements:
        again = drawn(*(f"throttle:{number}" for number in range(1000)))
    assert len(statements) <= 2
    assert [one.id for one in again] == [one.id for one in found]


def test_a_rollback_puts_tokens_back():
    with transaction.atomic():
        with pytest.raises(Changed), transaction.atomic():
            drawn("throttle:a")
            raise Changed
        (first,) = drawn("throttle:a")
        with pytest.raises(Changed), transaction.atomic():
            rows(current(), "UPDATE autotask_bucket SET full_at = clock_timestamp() RETURNING 1")
            assert drawn("throttle:a")[0].created
            raise Changed
        assert first.created and drawn("throttle:a")[0].id == first.id


def test_without_a_token_raise_raises():
    (first,) = drawn("unique:a")
    with pytest.raises(AlreadyEnqueued, match=rf"the task {first.id} is there already, with the unique key a\."):
        drawn("unique:a", terms=Terms(on_conflict="raise"))
    assert count("autotask_task") == 1


def test_each_call_draws_what_it_costs():
    tasks = [new_task() for _ in range(4)]
    tokens = [Throttle("throttle:a", 60.0, 5.0, cost) for cost in (2.0, 3.0, 0.0, 1.0)]
    assert [one.created for one in call(*tasks, tokens=tokens)] == [True, True, True, False]
    free, dear = new_task(), new_task()
    found = call(free, dear, tokens=[tokens[2], tokens[3]])
    assert [one.created for one in found] == [True, False] and found[1].id == free.id


def test_of_sixteen_callers_as_many_get_tokens_as_there_are():
    found = in_threads(lambda number: drawn("throttle:a", burst=3.0)[0], 16)
    assert sum(one.created for one in found) == count("autotask_task") == 3


def test_sixteen_callers_of_many_buckets_in_any_order_wait_for_no_circle():
    import random

    def some(number):
        keys = [f"throttle:{key}" for key in range(50)]
        random.Random(number).shuffle(keys)
        return sum(one.created for one in drawn(*keys))

    found = in_threads(some, 16)
    assert sum(found) == count("autotask_task") == 50


# --- debounce -------------------------------------------------------------------------------------------------------


def test_the_time_of_a_debounced_task_moves_until_at_most():
    terms = Terms(on_conflict="replace", renew=renewed, at_most=60.0)
    first = one(terms, key="waiting:a", delay=5.0)
    one(terms, key="waiting:a", delay=50.0)
    row = stored(first.id)
    assert 49 < (row.run_at - row.created_at).total_seconds() < 55
    one(terms, key="waiting:a", delay=500.0)
    row = stored(first.id)
    assert (row.run_at - row.created_at).total_seconds() == 60


def test_stored_arguments_are_merged_while_the_row_is_locked():
    def merge(task, id, former):
        return task._replace(id=id, payload=former + task.payload)

    terms = Terms(on_conflict="replace", renew=merge, merges=True)
    in_threads(lambda number: one(terms, key="waiting:a", payload=b"%x" % number, delay=5.0), 16)
    ((payload,),) = rows(current(), "SELECT payload FROM autotask_live")
    assert sorted(bytes(payload)) == sorted(b"0123456789abcdef")
    found = call(*(unique_task("waiting:b", payload=b"%d" % number) for number in range(3)), terms=terms)
    ((payload,),) = rows(current(), "SELECT payload FROM autotask_live WHERE id = %(id)s", {"id": found[0].id})
    assert bytes(payload) == b"012"


def test_a_replaced_task_gives_up_the_slot_of_its_former_gates_for_good():
    # Given: a task that was ready
    former, other = LimitGate("limit:a(1)", "a", 1), LimitGate("limit:a(2)", "a", 1)
    task = one(gates=[former])
    gates.admit(current(), Present(), room={THREAD: 100})
    assert flow_of(task.id)[:3] == [State.READY, "limit:a(1)", 1]

    # When
    assert one(REPLACE, gates=[other]).id == task.id
    gates.admit(current(), Present(), room={THREAD: 100})
    assert flow_of(task.id)[:3] == [State.READY, "limit:a(2)", 1]

    # Then
    third = one(key="tests.task(8)", gates=[former])
    gates.admit(current(), Present(), room={THREAD: 100})
    assert state(third.id) is State.READY
