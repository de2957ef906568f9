"""What is read to find out why a task does not run."""

import uuid

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from autotask import why
from autotask.models import Result, Task, Worker
from autotask.store import enqueue
from autotask.store.connection import current, execute
from autotask.store.situation import read_situation
from autotask.task import BACKGROUND, State
from autotask.why import Code
from tests.helpers import wait_until
from tests.integration.held import OPENAI, RATE, draw, give, hold, pause
from tests.integration.store.shapes import let_run, new_task, sign_on

pytestmark = pytest.mark.django_db(transaction=True)


def stored(**changes):
    task = new_task(**changes)
    enqueue.insert(current(), task)
    return task.id


def seen(id):
    return read_situation(current(), id)


def test_an_unknown_id_is_nothing():
    found = seen(uuid.uuid4())
    assert (found.task, found.workers, found.uncommitted) == (None, (), False)


def test_what_this_transaction_has_written_is_uncommitted_also_in_savepoints():
    before = stored()
    with transaction.atomic():
        own = stored()
        with transaction.atomic():
            inner = stored()
            assert seen(inner).uncommitted
        assert seen(own).uncommitted and seen(inner).uncommitted
        assert not seen(before).uncommitted
    assert not seen(own).uncommitted


def test_who_has_locked_a_row_is_seen(other_connection):
    id = stored()
    with transaction.atomic():
        execute(connection, "SELECT FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": id})
        pid = connection.connection.info.backend_pid
        assert read_situation(other_connection, id).locker.pid == pid
    assert read_situation(other_connection, id).locker is None


@pytest.mark.parametrize("delay", [-9, 600])
def test_who_has_locked_a_scheduled_task_is_seen_once_it_is_due(other_connection, delay):
    id = stored(delay=1000)
    changes = {"id": id, "delay": delay}
    execute(
        current(), "UPDATE autotask_task SET run_at = now() + %(delay)s * interval '1 s' WHERE id = %(id)s", changes
    )
    with transaction.atomic():
        execute(connection, "SELECT FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": id})
        assert (read_situation(other_connection, id).locker is not None) is (delay < 0)


def test_the_line_at_a_gate_has_an_order():
    ids = hold(OPENAI, count=5)
    [first] = hold(OPENAI, priority=5)
    give(OPENAI, *ids[:2], state=State.RUNNING, seconds=5)
    found = [seen(id) for id in (first, *ids[2:])]
    assert [each.place for each in found] == [0, 1, 2, 3]
    assert {holder.id for holder in found[0].holders} == set(ids[:2])
    assert (found[0].gate.taken, found[0].gate.waiting) == (2, 4)


def test_the_line_of_a_queue_has_an_order():
    ids = [stored(), stored(), stored(priority=5), stored(queue="mail")]
    assert [seen(id).ahead for id in ids] == [1, 2, 0, 0]


def test_tokens_and_pauses_are_seen():
    [id] = hold(RATE)
    draw(RATE, 20)
    pause("queue", "default", reason="deploy")
    found = seen(id)
    assert found.gate.full_at is not None
    assert [(each.kind, each.name, each.reason) for each in found.in_force] == [("queue", "default", "deploy")]
    assert found.in_force[0].paused_at.tzinfo is not None


@pytest.mark.parametrize("message", ["none", "innocent", "suspect"])
@pytest.mark.parametrize("suspects", [0, 1, 2])
def test_a_worker_runs_alone_what_is_a_suspect_whatever_messages_its_background_workers_handle(suspects, message):
    # Given
    worker, ids = sign_on(), [stored() for _ in range(suspects)]
    messages = [stored(executor=BACKGROUND, name="background:stock")] if message != "none" else []
    for id in ids + messages:
        let_run(id, worker=worker)
    lost = ids + (messages if message == "suspect" else [])
    execute(current(), "UPDATE autotask_task SET lost = 1 WHERE id = ANY(%(ids)s)", {"ids": lost})

    # Then
    (found,) = seen(stored()).workers
    assert found.alone == (ids[0] if suspects == 1 else None)


def test_workers_are_seen_with_what_they_run(worker):
    # At first it may run the ticks of schedules.
    found = wait_until(lambda: next((each for each in seen(uuid.uuid4()).workers if not each.running), None))
    row = Worker.objects.get()
    assert (found.id, found.pid, found.alive, found.running) == (row.id, row.pid, True, {})
    assert "coroutine" in found.executors


def test_the_usual_time_of_a_name_is_known():
    id = stored(name="shop.slow")
    columns = [field.name for field in Task._meta.fields if field.name in {each.name for each in Result._meta.fields}]
    for seconds in (1, 2, 30):
        ended = Task.objects.values(*columns).get(id=id) | {"id": uuid.uuid4(), "state": State.DONE.value}
        Result.objects.create(**ended, ended_at=Now(), kept_until=Now())
        execute(
            connection,
            f"UPDATE autotask_result SET started_at = ended_at - interval '{seconds} s' WHERE started_at IS NULL",
        )
    assert (seen(id).typical.seconds, seen(id).typical.count) == (2, 3)


def test_missing_tables_are_explained_also_in_a_transaction():
    with transaction.atomic():
        execute(connection, "SET LOCAL search_path TO pg_catalog")
        assert why.explain(current(), uuid.uuid4()).code == Code.UNMIGRATED
        assert why.explain(current(), uuid.uuid4()).advice == "python manage.py migrate autotask"


def test_it_is_one_statement(django_assert_num_queries):
    id = stored()
    with django_assert_num_queries(1):
        assert why.explain(current(), id).code == Code.NO_WORKER
