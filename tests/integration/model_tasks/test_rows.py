"""Rows become tasks, in the transaction that inserts them."""

import json
import re
import uuid

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.exceptions import InvalidOption, TaskExpired
from autotask.flow import Flow
from autotask.model_tasks import Status
from autotask.models import Task
from autotask.store.connection import execute
from autotask.task import DONE, State
from tests.helpers import ended, wait_until
from tests.integration.model_tasks.models import (
    BoxTask,
    ChildTask,
    GatedTask,
    HelloTask,
    KeyedTask,
    LimitedTask,
    RemoteTask,
    StepTask,
    WordTask,
)

pytestmark = pytest.mark.usefixtures("model_tables")


class Undo(Exception):
    pass


def waiting(model):
    return Task.objects.filter(name=model._meta.label_lower)


def done(row, seconds=20.0):
    """Wait for the end of a row, and return it as it is then."""

    def look():
        row.refresh_from_db()
        return row.done_time

    wait_until(look, seconds, f"the end of {row.task_info}")
    return row


def test_a_row_is_run_and_shows_its_result(worker):
    row = HelloTask.objects.create(name="Ann")

    assert row.handle.wait(10) == "Hello, Ann. Nice to meet you!"
    row = HelloTask.objects.with_status().get(pk=row.pk)
    assert (row.success, row.result, row.error_message) == (True, "Hello, Ann. Nice to meet you!", "")
    assert row.status == Status.DONE
    assert row.done_time is not None
    assert row.start_time <= row.done_time
    assert row.current_step == 1
    assert set(row.step_times) == {"1"}


@pytest.fixture
def invoice(model_tables):
    """A table that refers to rows of HelloTask."""
    execute(connection, f"CREATE TABLE invoice (row_id bigint REFERENCES {HelloTask._meta.db_table})")
    yield "invoice"
    execute(connection, "DROP TABLE invoice")


def test_a_transaction_that_only_refers_to_a_row_does_not_hold_it_up(start_worker, invoice, other_connection):
    # The foreign key locks the row that it names, and FOR UPDATE SKIP LOCKED would pass over that one:
    # findings/skip_locked_skips_rows_that_others_refer_to.sh
    row = HelloTask.objects.create(name="Ann")
    execute(other_connection, "BEGIN")
    execute(other_connection, f"INSERT INTO {invoice} VALUES (%s)", [row.pk])
    start_worker()

    assert done(row).success is True
    execute(other_connection, "ROLLBACK")


@pytest.mark.parametrize("model", [HelloTask, BoxTask, ChildTask])
def test_a_row_that_was_rolled_back_can_be_saved_again(worker, model):
    row = model()
    with pytest.raises(Undo), transaction.atomic():
        row.save()
        row.save()  # nobody knows yet
        raise Undo
    row.save()

    assert model.objects.get().pk == row.pk
    assert done(row).success is True
    assert not waiting(model).exists()


def test_rows_of_a_bulk_that_were_rolled_back_can_be_saved_again():
    rows = [HelloTask(name="x"), HelloTask(name="y")]
    with transaction.atomic():
        with pytest.raises(Undo), transaction.atomic():
            HelloTask.objects.bulk_create(rows)
            raise Undo
        rows[0].save()
        kept = HelloTask.objects.create(name="z")
    assert {row.pk for row in HelloTask.objects.all()} == {rows[0].pk, kept.pk}
    assert {task.id for task in waiting(HelloTask)} == {rows[0].task_id, kept.task_id}


def test_a_row_that_is_committed_is_not_looked_for_when_it_is_saved_again():
    with transaction.atomic():
        row = HelloTask.objects.create(name="x")
    with CaptureQueriesContext(connection) as queries:
        row.save()
    assert [query["sql"].split()[0] for query in queries] == ["UPDATE"]


def test_an_inserted_copy_has_a_task_of_its_own():
    row = HelloTask.objects.create(name="x")
    first, row.pk = row.task_id, row.pk + 1000
    row.save(force_insert=True)
    assert HelloTask.objects.count() == 2
    assert {task.id for task in waiting(HelloTask)} == {first, row.task_id}
    assert row.task_id != first


def test_a_row_that_is_rolled_back_leaves_no_task():
    with pytest.raises(Undo), transaction.atomic():
        HelloTask.objects.create(name="Ann")
        HelloTask.objects.bulk_create([HelloTask(name="Bob")])
        assert waiting(HelloTask).count() == 2
        raise Undo

    assert waiting(HelloTask).count() == 0
    assert HelloTask.objects.count() == 0


def test_a_task_that_cannot_be_stored_leaves_no_row():
    with pytest.raises(InvalidOption):
        StepTask.objects.create(region="not a queue!")
    with pytest.raises(InvalidOption):
        StepTask.objects.bulk_create([StepTask(region="eu"), StepTask(region="not a queue!")])

    assert StepTask.objects.count() == 0
    assert waiting(StepTask).count() == 0


@pytest.mark.parametrize(
    ("row", "info"),
    [
        (lambda: BoxTask(), None),
        (lambda: BoxTask(id=uuid.UUID(int=7)), f"model_tasks.boxtask:{uuid.UUID(int=7)}"),
        (lambda: WordTask(text="ünì: code"), "model_tasks.wordtask:ünì: code"),
        (lambda: HelloTask(name="x"), None),
        (lambda: HelloTask(pk=77, name="x"), "model_tasks.hellotask:77"),
        (lambda: ChildTask(name="x", more="y"), None),
    ],
)
def test_keys_of_any_type(worker, row, info):
    row = row()
    row.save()

    assert ended(row.handle) == DONE
    row.refresh_from_db()
    assert row.success is True
    if info:
        assert row.task_info == info


def test_the_queue_of_a_row_is_in_its_field():
    StepTask.objects.create(region="eu-1")
    StepTask.objects.create(region="")
    StepTask.objects.bulk_create([StepTask(region="eu-2"), StepTask(region="eu-1")])

    assert sorted(waiting(StepTask).values_list("queue", flat=True)) == ["default", "eu-1", "eu-1", "eu-2"]


def test_a_bulk_makes_its_tasks_with_one_statement_for_each_table(worker):
    worker.stop()
    with CaptureQueriesContext(connection) as queries:
        rows = HelloTask.objects.bulk_create([HelloTask(name=str(number)) for number in range(1000)])

    stored = [query["sql"] for query in queries if re.match("INSERT|COPY", query["sql"])]
    assert len(stored) == 3  # the rows, their tasks, and the entries of these in the ready table
    assert waiting(HelloTask).count() == 1000
    assert len({row.task_id for row in rows}) == 1000


def test_all_rows_of_a_bulk_are_done_once(start_worker):
    start_worker()
    rows = HelloTask.objects.bulk_create([HelloTask(name=str(number)) for number in range(300)])

    wait_until(lambda: HelloTask.objects.filter(done_time=None).count() == 0, 30, "the end of all rows")
    results = dict(HelloTask.objects.values_list("pk", "result"))
    assert results == {row.pk: f"Hello, {row.name}. Nice to meet you!" for row in rows}


def test_a_bulk_makes_tasks_only_of_rows_that_it_inserts():
    WordTask.objects.create(text="old")
    first = WordTask.objects.get().task_id

    WordTask.objects.bulk_create([WordTask(text="old"), WordTask(text="new")], ignore_conflicts=True)
    assert waiting(WordTask).count() == 2
    WordTask.objects.bulk_create(
        [WordTask(text="old", note="x"), WordTask(text="newer")],
        update_conflicts=True,
        unique_fields=["text"],
        update_fields=["note"],
    )

    assert waiting(WordTask).count() == 3
    old = WordTask.objects.get(text="old")
    assert (old.task_id, old.note) == (first, "x")


def test_rows_that_are_got_or_updated_make_no_further_tasks():
    row, _ = WordTask.objects.get_or_create(text="a")
    again, created = WordTask.objects.get_or_create(text="a")
    assert not created
    WordTask.objects.update_or_create(text="a", defaults={"note": "x"})
    made, created = WordTask.objects.update_or_create(text="b", defaults={"note": "y"})
    assert created

    assert again.task_id == row.task_id
    assert {task.id for task in waiting(WordTask)} == {row.task_id, made.task_id}


def test_a_row_that_replaces_another_one_keeps_its_task():
    first = WordTask.objects.create(text="a")
    second = WordTask(text="a", note="other")
    second.save()

    assert second.task_id == first.task_id
    assert waiting(WordTask).count() == 1
    assert WordTask.objects.get().note == "other"
    with pytest.raises(IntegrityError), transaction.atomic():
        WordTask.objects.create(text="a")
    assert waiting(WordTask).count() == 1


def test_a_copy_of_a_row_is_a_new_task(worker):
    row = done(HelloTask.objects.create(name="Ann"))
    first = row.task_id
    row.pk = None
    row.save()

    assert row.task_id != first
    assert row.done_time is None
    assert done(row).result == "Hello, Ann. Nice to meet you!"
    assert HelloTask.objects.count() == 2


def test_saving_an_old_copy_of_a_row_leaves_alone_what_workers_have_written(worker):
    row = HelloTask.objects.create(name="Ann")
    row.handle.wait(10)
    row.name = "Bob"
    row.save()

    row.refresh_from_db()
    assert (row.name, row.success) == ("Bob", True)
    row.success = None
    row.save(update_fields=["success"])
    row.refresh_from_db()
    assert row.success is None


def test_fixtures_and_rows_that_are_done_make_no_tasks():
    HelloTask(pk=5, name="raw", add_time=timezone.now(), mod_time=timezone.now()).save_base(raw=True)
    done_before = HelloTask.objects.create(name="x", done_time="2020-01-01T00:00Z", success=True)
    HelloTask.objects.bulk_create([HelloTask(name="y", done_time="2020-01-01T00:00Z")])

    assert waiting(HelloTask).count() == 0
    with pytest.raises(
        TaskExpired, match=rf"^The row model_tasks.hellotask:{done_before.pk} has no task: .* made as done\.$"
    ):
        _ = done_before.handle
    with pytest.raises(TaskExpired, match="hellotask:None has no task: it is not saved yet"):
        _ = HelloTask(name="new").handle


def test_a_deleted_row_is_discarded(worker, start_worker):
    worker.stop()
    row = HelloTask.objects.create(name="x")
    handle = row.handle
    row.delete()
    start_worker()

    assert ended(handle) == "cancelled"
    assert handle.error_message.startswith("discarded: ")


def test_rows_wait_at_the_gates_of_their_options(worker):
    rows = LimitedTask.objects.bulk_create([LimitedTask() for _ in range(20)])
    rows.append(LimitedTask.objects.create())

    for row in rows:
        assert done(row).success is True


def test_each_step_passes_the_gates_and_keeps_its_place_in_the_line(start_worker):
    GatedTask.order.clear()
    rows = GatedTask.objects.bulk_create([GatedTask() for _ in range(2)])
    start_worker()
    wait_until(lambda: len(GatedTask.order) == 5, what="five steps")  # as many as there are tokens
    first, second = (row.pk for row in rows)
    assert GatedTask.order == [(first, 1), (first, 2), (first, 3), (second, 1), (second, 2)]
    wait_until(lambda: Task.objects.get(id=rows[1].task_id).state == State.HELD, what="the last step at the gate")
    assert done(rows[0]).success
    assert rows[1].handle.status == "waiting"


def test_keys_are_made_of_the_fields_of_a_row(start_worker):
    rows = [KeyedTask.objects.create(region="north", number=each) for each in ("3", 3)]
    hello = HelloTask.objects.create(name="x")
    rows += KeyedTask.objects.bulk_create([KeyedTask(region="south", hello=hello)])

    flows = [Flow.load(json.dumps(Task.objects.get(pk=row.task_id).flow)) for row in rows]
    assert [[gate.key for gate in flow.gates] for flow in flows] == [
        ["limit:model_tasks.keyedtask(region='north', number=3, hello=None)", "rate:model_tasks.keyedtask('n')"],
        ["limit:model_tasks.keyedtask(region='north', number=3, hello=None)", "rate:model_tasks.keyedtask('n')"],
        [f"limit:model_tasks.keyedtask(region='south', number=1, hello={hello.pk})", "rate:model_tasks.keyedtask('s')"],
    ]
    assert [flow.gates[1].cost for flow in flows] == [3, 3, 1]
    start_worker()
    assert [done(row).result for row in rows] == [3, 3, 1]


def test_remote_rows_wait_for_a_client(worker):
    row = RemoteTask.objects.create(name="x")
    HelloTask.objects.create(name="x").handle.wait(10)

    task = waiting(RemoteTask).get()
    assert (task.id, task.state, task.executor, task.queue) == (row.task_id, State.READY, "remote", "remote")


def test_the_status_of_rows_can_be_filtered():
    ready = HelloTask.objects.create(name="x")
    HelloTask.objects.create(name="y", done_time="2020-01-01T00:00Z")

    found = HelloTask.objects.with_status().filter(status=Status.READY)
    assert [row.pk for row in found] == [ready.pk]
    assert found[0].due_time is not None
    assert HelloTask.objects.with_status().filter(status=Status.DONE).count() == 1
