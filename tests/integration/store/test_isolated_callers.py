"""Callers without a transaction of their own, at sites whose transactions see a snapshot, or are serializable."""

import contextlib
import threading
import uuid

import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.postgresql.psycopg_any import IsolationLevel
from django.utils import timezone

from autotask.acts import background, keys, pausing, schedules, tasks as acts
from autotask.exceptions import AlreadyEnqueued, InvalidKey
from autotask.flow.plan import Throttle
from autotask.models import BackgroundWorker, Schedule
from autotask.store import once, prepared
from autotask.store.cancel import Cancellation, cancel
from autotask.store.connection import current, execute, rows
from autotask.store.unique import Terms
from tests.helpers import patient, wait_until
from tests.integration.store.shapes import count, new_task
from tests.integration.store.test_unique import REPLACE, call, in_threads, one, renewed, unique_task

CALLERS = 8


@pytest.fixture(
    autouse=True, params=[IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE], ids=lambda level: level.name
)
def level(request, transactional_db):
    """Connections from now on have this level."""
    database = connections.settings["default"]
    options = database["OPTIONS"]
    database["OPTIONS"] = {**options, "isolation_level": request.param}
    _connect_again()
    connections["default"].connect()  # A test may not connect by itself to what it has not declared.
    yield
    # Before the tables are emptied, which connects: later tests keep that connection.
    database["OPTIONS"] = options
    _connect_again()


def _connect_again():
    connections["default"].close()
    del connections["default"]


def meanwhile(change, act):
    """Call a function that waits for a row which another transaction changes; return what it returned."""
    results = []

    def run():
        try:
            results.append(act())
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    connection = current()
    connection.set_autocommit(False)
    try:
        change(connection)
        thread = threading.Thread(target=run)
        thread.start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        wait_until(
            lambda: rows(connection, "SELECT pg_stat_clear_snapshot()") and rows(connection, waits), what="the other"
        )
        connection.commit()
    finally:
        connection.rollback()
        connection.set_autocommit(True)
    thread.join(patient(20))
    return results[0]


def touch(id):
    return lambda connection: execute(connection, "UPDATE autotask_task SET arguments = arguments WHERE id = %s", (id,))


@pytest.mark.parametrize(
    "terms",
    [Terms(), REPLACE, Terms(on_conflict="replace", renew=renewed, merges=True)],
    ids=["return", "replace", "merge"],
)
def test_of_many_calls_at_once_one_makes_the_task(terms):
    found = in_threads(lambda number: one(terms), CALLERS)

    assert len({one.id for one in found}) == 1
    assert [one.created for one in found].count(True) == count("autotask_task") == 1


def test_a_call_whose_statement_is_prepared_is_run_again_as_well():
    # Given
    first = unique_task()

    def ask():
        execute(current(), "SET default_transaction_isolation = 'repeatable read'")  # also of single statements
        for number in range(prepared.OFTEN):
            one(key=f"tests.task({number})", name="tests.other")
        return one()

    # When
    found = meanwhile(lambda connection: call(first), ask)

    # Then
    assert (found.id, found.created) == (first.id, False)


def test_of_many_calls_at_once_all_but_one_are_refused():
    def ask(number):
        try:
            return one(Terms(on_conflict="raise")).id
        except AlreadyEnqueued:
            return None

    assert in_threads(ask, CALLERS).count(None) == CALLERS - 1


def test_of_many_calls_at_once_as_many_get_tokens_as_there_are():
    bucket = Throttle("throttle:a", 60.0, 3.0)
    found = in_threads(lambda number: call(new_task(), tokens=[bucket])[0].created, CALLERS)

    assert found.count(True) == count("autotask_task") == 3


def test_of_many_calls_at_once_for_an_id_one_makes_the_task():
    def ask(number):
        return once.store(current(), "a", None, lambda former: unique_task("a")).created

    assert in_threads(ask, CALLERS).count(True) == count("autotask_task") == 1


def test_a_task_is_cancelled_although_its_row_has_just_changed():
    id = one().id
    assert meanwhile(touch(id), lambda: cancel(current(), id)) is Cancellation.CANCELLED


def test_many_tasks_are_cancelled_although_one_has_just_changed():
    ids = [one(key=f"tests.task({number})").id for number in range(3)]
    logs = []
    answers = meanwhile(touch(ids[1]), lambda: acts.cancel(ids, logs.append))

    assert [answer.is_done for answer in answers] == [True] * 3
    assert sorted(logs[-1]) == sorted(ids)


def pause_it(number):
    pausing.pause(queue="mail", by=str(number))


def pause_and_resume(number):
    pause_it(number)
    pausing.resume(queue="mail")


def pause_and_resume_the_schedule(number):
    schedules.pause(["tests.sweep"], str(number))
    schedules.resume(["tests.sweep"])


def make_and_revoke_a_key(number):
    with contextlib.suppress(InvalidKey):
        keys.create("ci", ["read:*"])
    keys.revoke("ci")


def start_and_stop(number):
    background.start(["tests.feed"])
    background.stop(["tests.feed"])


@pytest.mark.parametrize(
    "act", [pause_it, pause_and_resume, pause_and_resume_the_schedule, make_and_revoke_a_key, start_and_stop]
)
def test_acts_of_many_at_once_do_not_fail_because_of_the_others(act):
    now = timezone.now()
    Schedule.objects.create(
        name="tests.sweep", task="tests.sweep", spec="daily", registered_at=now, declared_at=now, next_tick=now
    )
    BackgroundWorker.objects.create(
        name="tests.feed",
        kind="thread",
        per="site",
        queue="default",
        wanted=False,
        start_id=uuid.uuid4(),
        declared_at=now,
    )

    in_threads(lambda number: [act(number) for _ in range(10)], CALLERS)


def test_a_callback_after_the_commit_that_conflicts_does_not_repeat_the_act():
    def conflict():
        execute(
            current(), "DO $$ BEGIN RAISE EXCEPTION 'of the callback' USING ERRCODE = 'serialization_failure'; END $$"
        )

    id, logs = one().id, []

    def log(ids):
        logs.append(ids)
        transaction.on_commit(conflict)

    with pytest.raises(OperationalError, match="of the callback"):
        acts.cancel([id], log)

    assert logs == [[id]]
