"""Keys are taken and let go in one order, whoever does it, so that two transactions never wait for each other."""

import threading

import pytest
from django.db import connection as default, transaction

from autotask.acts import tasks as acts
from autotask.flow import Flow
from autotask.store import cancel, enqueue, many, promote, unique
from autotask.store.connection import current, dedicated, execute, rows
from autotask.store.unique import Terms
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import new_task, sign_on, take, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)

# Pauses sessions that are about to take the first key.
PAUSE = """
CREATE FUNCTION pause_at_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.unique_key = 'a' AND current_setting('tests.hurries', true) IS DISTINCT FROM 'yes' THEN
        PERFORM pg_advisory_xact_lock(15);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER pause_at_key BEFORE INSERT ON autotask_task FOR EACH ROW EXECUTE FUNCTION pause_at_key();
"""


@pytest.fixture
def keyed(transactional_db):
    """The ids of two tasks; the first one has the second key."""
    tasks = [_with_key("b"), _with_key("a")]
    enqueue.insert_flowing(current(), tasks)
    return [task.id for task in tasks]


@pytest.fixture
def third(transactional_db):
    connection = dedicated("third")
    yield connection.wrapper
    connection.close()


def _with_key(key, **changes):
    return new_task(**changes)._replace(flow=Flow((), key))


def _in_thread(function, *args):
    def run():
        try:
            found.append(function(*args))
        except BaseException as error:  # noqa: B036 - it is raised below
            found.append(error)
        finally:
            default.close()

    found = []
    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(patient(20))
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]

    result.thread = thread
    return result


def _waiting(connection, count, *done):
    """Wait until so many sessions wait, or all of these threads are done."""
    wait_until(
        lambda: waiting_for_locks(connection) >= count or (done and not any(each.thread.is_alive() for each in done)),
        what="sessions that wait",
    )


def test_tasks_that_are_retried_take_their_keys_in_the_order_in_which_calls_take_them(keyed, other_connection, third):
    # Given
    for id in keyed:
        cancel.cancel(current(), id)
    execute(current(), PAUSE)
    try:
        execute(third, "SELECT pg_advisory_lock(15)")
        retried = _in_thread(acts.retry, keyed)
        _waiting(third, 1)

        # When
        execute(other_connection, "SELECT set_config('tests.hurries', 'yes', false)")
        called = _in_thread(enqueue.insert_flowing, other_connection, [_with_key("a"), _with_key("b")])
        _waiting(third, 2, called)
        execute(third, "SELECT pg_advisory_unlock(15)")

        # Then
        assert len(called()) + sum(answer.refused is None for answer in retried()) == 2
    finally:
        execute(current(), "DROP FUNCTION pause_at_key CASCADE")


def test_a_key_that_another_transaction_takes_while_very_many_are_copied_keeps_its_task(
    other_connection, third, monkeypatch
):
    # Given: another session has taken a key, and has not committed
    monkeypatch.setattr(many, "MANY_ENOUGH", 2)
    tasks, other = [new_task()._replace(key=key) for key in "cba"], _with_key("b")
    execute(third, "BEGIN")
    enqueue.insert_flowing(third, [other])
    others = _in_thread(unique.store, other_connection, tasks, Terms())
    _waiting(current(), 1)

    # When
    execute(third, "COMMIT")

    # Then
    assert {id: one.id for id, one in others().items()} == {tasks[1].id: other.id}
    assert sorted(rows(current(), "SELECT unique_key FROM autotask_task")) == [("a",), ("b",), ("c",)]


def test_tasks_are_cancelled_in_the_order_in_which_calls_replace_them(keyed, other_connection, third):
    # Given: both will wait for the first task
    execute(third, "BEGIN")
    execute(third, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": keyed[0]})
    cancelled = _in_thread(acts.cancel, keyed)
    _waiting(third, 1)
    terms = Terms(on_conflict="replace", renew=lambda task, id, payload: task._replace(id=id))
    replaced = _in_thread(unique.store, other_connection, [_with_key("a"), _with_key("b")], terms)
    _waiting(third, 2)

    # When
    execute(third, "ROLLBACK")

    # Then
    assert [answer.refused for answer in cancelled()] == [None, None]
    assert replaced() == {}, "both are new"


def test_a_call_whose_keys_are_freed_meanwhile_takes_them_again_in_order(keyed, other_connection, third, monkeypatch):
    # Given: a call of three tasks that has stored those whose keys are free, and will look for the one that has the second
    cancel.cancel(current(), keyed[1])
    find, others = unique._find, []

    def find_late(*args):
        if not others:
            # When: that one ends, and another call takes its key, and waits for the next one
            cancel.cancel(other_connection, keyed[0])
            others.append(_in_thread(enqueue.insert_flowing, third, [_with_key("b"), _with_key("c")]))
            _waiting(other_connection, 1)
        return find(*args)

    monkeypatch.setattr(unique, "_find", find_late)
    mine = _in_thread(lambda: unique.store(current(), [_with_key(key) for key in "abc"], Terms()))

    # Then
    assert len(mine()) == 2
    assert len(others[0]()) == 2


def test_a_call_that_comes_too_late_to_replace_a_task_does_not_keep_it_locked(third, monkeypatch):
    # Given: a scheduled task, which a call will replace as soon as another session lets it go
    key, worker = "waiting:a", sign_on()
    enqueue.insert_flowing(current(), [_with_key(key, delay=3600)])
    execute(current(), "UPDATE autotask_task SET run_at = clock_timestamp()")
    execute(third, "BEGIN")
    execute(third, "SELECT FROM autotask_task FOR UPDATE")
    find, finds, claims = unique._find, [], []

    def find_late(*args):
        finds.append(args)
        if len(finds) == 2:
            # When: a worker claims the task before the call tries again
            claims.append(_in_thread(take, worker))
            _waiting(third, 1, claims[0])
        return find(*args)

    def call():
        terms = Terms(on_conflict="replace", renew=lambda task, id, payload: task._replace(id=id))
        with transaction.atomic():
            return unique.store(current(), [_with_key(key)], terms)

    monkeypatch.setattr(unique, "_find", find_late)
    called = _in_thread(call)
    _waiting(third, 1)
    assert promote.promote(third)[0] == 1
    execute(third, "COMMIT")

    # Then
    assert called() == {}, "it is new"
    assert len(claims[0]()) == 1


@pytest.mark.parametrize("policy", ["return", "replace"])
def test_a_call_of_many_is_stored_although_tasks_with_its_keys_end_all_the_time(other_connection, monkeypatch, policy):
    # Given: more tasks than the call may try, of which one ends whenever the call looks for many of them
    keys = [f"key {number:03}" for number in range(unique.TRIES + 20)]
    there = [_with_key(key) for key in keys]
    enqueue.insert_flowing(current(), there)
    ids = [task.id for task in there]
    find, ended = unique._find, iter(ids)

    def find_late(connection, tasks):
        if len(tasks) > 1:
            cancel.cancel(other_connection, next(ended))
        return find(connection, tasks)

    monkeypatch.setattr(unique, "_find", find_late)
    terms = Terms(on_conflict=policy, renew=lambda task, id, payload: task._replace(id=id))

    # When
    with transaction.atomic():
        others = unique.store(current(), [_with_key(key) for key in keys], terms)

    # Then
    assert {one.id for one in others.values()} <= set(ids)
    assert len(keys) - unique.BEGINNINGS <= len(others) < len(keys)
    stored = {id for (id,) in rows(current(), "SELECT id FROM autotask_task")}
    assert len(stored - set(ids)) == len(keys) - len(others)
