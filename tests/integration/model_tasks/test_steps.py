"""Steps of rows: each commits with what it returned, and nothing is held between them."""

import dataclasses

import pytest
from django.db import connection, transaction

from autotask.exceptions import RowBusy
from autotask.models import Step
from autotask.store import isolation, model_rows, prune, rescue, steps
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, ERROR, THREAD, State
from autotask.worker import mender, rows_of_tasks
from autotask.worker.mender import Mender
from tests.gates import gate
from tests.helpers import ended
from tests.integration.model_tasks.models import HelloTask, RemoteTask, StepTask, WholeTask
from tests.integration.model_tasks.test_rows import done, waiting
from tests.integration.store.shapes import edit, let_run

pytestmark = pytest.mark.usefixtures("model_tables")


def test_steps_follow_each_other_and_their_times_are_on_the_row(worker):
    row = done(StepTask.objects.create())

    assert row.lines == "1 2 3 "
    assert (row.success, row.current_step) == (True, 3)
    assert row.result == {"number": "3", "step": 3}
    assert sorted(row.step_times) == ["1", "2", "3"]
    times = [row.step_times[number][end] for number in "123" for end in ("start", "end")]
    assert times == sorted(times)


def test_a_step_that_has_ended_is_kept_and_the_task_waits(worker):
    row = StepTask.objects.create(acts={"2": "wait"})
    assert gate("step 2 reached").wait(20)

    row.refresh_from_db()
    (step,) = Step.objects.filter(task_id=row.task_id)
    assert (step.number, row.current_step, list(row.step_times)) == (1, 2, ["1"])
    gate("step 2").set()
    assert done(row).lines == "1 2 3 "


def test_a_failed_step_is_retried_and_those_before_it_are_not_run_again(worker):
    row = done(StepTask.objects.create(acts={"2": "fail once"}))

    assert (row.lines, row.success) == ("1 2 2 3 ", True)
    assert [attempt.error_message for attempt in row.handle.failed_attempts] == ["ValueError: step 2 went wrong"]


def test_each_step_has_all_its_retries(worker):
    row = done(StepTask.objects.create(acts={"1": "fail once", "2": "fail once", "3": "fail once"}))

    assert (row.lines, row.success) == ("1 1 2 2 3 3 ", True)


def test_a_step_that_fails_for_good_ends_the_row(worker):
    row = done(StepTask.objects.create(acts={"2": "raise"}))

    assert (row.success, row.error_message, row.current_step) == (False, "ValueError: step 2 went wrong", 2)
    assert row.lines == "1 2 2 "
    assert sorted(row.step_times) == ["1", "2"]


def test_a_retry_goes_on_at_the_step_that_failed(worker):
    row = done(StepTask.objects.create(acts={"2": "raise"}))
    row.acts = {}
    row.save()
    row.handle.retry()

    row.refresh_from_db()
    assert done(row).lines == "1 2 2 2 3 "
    assert (row.success, row.error_message) == (True, "")


@pytest.mark.parametrize("act", ["object", "half a character"])
def test_a_result_that_json_cannot_hold_is_an_error(worker, act):
    row = done(StepTask.objects.create(acts={"3": act}))

    assert row.success is False
    assert "cannot be stored as JSON" in row.error_message


def test_a_row_that_waits_can_be_cancelled():
    row = HelloTask.objects.create(name="x")
    row.handle.cancel()

    row.refresh_from_db()
    assert (row.success, row.error_message, row.step_times) == (False, "", {})
    assert row.done_time is not None
    assert row.handle.status == CANCELLED


def test_a_row_that_runs_can_be_cancelled(worker):
    row = StepTask.objects.create(acts={"2": "wait"})
    assert gate("step 2 reached").wait(20)
    row.handle.cancel()
    gate("step 2").set()

    row.refresh_from_db()
    assert ended(row.handle) in (CANCELLED, DONE)
    assert done(row).success is (row.handle.status == DONE)


def test_a_row_whose_workers_die_ends():
    row = HelloTask.objects.create(name="x")
    let_run(row.task_id)
    edit("UPDATE autotask_task SET lost = 5 WHERE id = %(id)s", {"id": row.task_id})
    rescue.rescue(current(), [], reason="it was killed", max_crashes=3, error_ttl=60)

    row.refresh_from_db()
    assert row.success is False
    assert row.error_message == "killed its worker 6 times: it was killed"


def test_an_expired_row_ends(worker, start_worker):
    worker.stop()
    row = HelloTask.objects.create(name="x")
    execute(current(), "UPDATE autotask_task SET expires_at = now() WHERE id = %(id)s", {"id": row.task_id})
    start_worker()

    assert done(row).success is False
    assert row.error_message.startswith("expired")


def test_a_locked_row_holds_up_nobody_and_is_written_later(worker, other_connection):
    rows = HelloTask.objects.bulk_create([HelloTask(name="x") for _ in range(3)])
    locked = HelloTask.objects.create(name="y")
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM model_tasks_hellotask WHERE id = %s FOR UPDATE", (locked.pk,))

    assert ended(locked.handle) == DONE
    for row in rows:
        done(row)
    locked.refresh_from_db()
    assert locked.done_time is None
    assert HelloTask.objects.with_status().get(pk=locked.pk).status == 30
    execute(other_connection, "COMMIT")
    assert done(locked).result == "Hello, y. Nice to meet you!"


def test_a_row_that_refuses_its_end_does_not_keep_the_task_from_ending(worker):
    execute(
        current(), "ALTER TABLE model_tasks_hellotask ADD CONSTRAINT picky CHECK (name <> 'y' OR done_time IS NULL)"
    )
    good, refused = HelloTask.objects.bulk_create([HelloTask(name="x"), HelloTask(name="y")])

    assert (ended(good.handle), ended(refused.handle)) == (DONE, DONE)
    assert done(good).success is True
    execute(current(), "ALTER TABLE model_tasks_hellotask DROP CONSTRAINT picky")
    refused.refresh_from_db()
    assert refused.done_time is None


def test_the_mender_finds_rows_whose_end_was_not_written(settings):
    row = HelloTask.objects.create(name="x")
    lost = HelloTask.objects.create(name="y")
    row.handle.cancel()
    HelloTask.objects.filter(pk=row.pk).update(done_time=None, success=None)
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": lost.task_id})
    live = HelloTask.objects.create(name="z")
    rows_of_tasks.missed.add("model_tasks.hellotask")

    assert Mender().run_once(connection) == mender.SOON
    row.refresh_from_db()
    lost.refresh_from_db()
    live.refresh_from_db()
    assert (row.success, live.done_time) == (False, None)
    assert (lost.success, lost.error_message[:20]) == (False, "its task is not in t")


# Rows are found in any order. When all of the last rows were refused, the others of their piece are left alone, too.
@pytest.mark.parametrize(("most_in_a_row", "piece"), [(100, 5), (2, 1)])
def test_the_mender_goes_on_after_rows_that_are_refused(monkeypatch, most_in_a_row, piece):
    monkeypatch.setattr(mender, "PIECE", piece)
    monkeypatch.setattr(isolation, "MOST_IN_A_ROW", most_in_a_row)
    *refused, good = HelloTask.objects.bulk_create([*(HelloTask(name="no") for _ in range(10)), HelloTask(name="x")])
    for row in (*refused, good):
        row.handle.cancel()
    HelloTask.objects.update(done_time=None, success=None)
    execute(
        current(),
        "ALTER TABLE model_tasks_hellotask ADD CONSTRAINT picky CHECK (name <> 'no' OR done_time IS NULL) NOT VALID",
    )
    service = Mender()
    for _ in range(20):
        rows_of_tasks.missed.add("model_tasks.hellotask")
        service.run_once(connection)
    good.refresh_from_db()
    assert good.success is False
    assert HelloTask.objects.filter(done_time=None).count() == 10


def test_atomic_steps_commit_with_their_effect(worker):
    good, bad = WholeTask.objects.create(name="good"), WholeTask.objects.create(name="bad")

    assert (done(good).success, done(bad).success) == (True, False)
    names = set(HelloTask.objects.values_list("name", flat=True))
    assert names == {"good 1", "good 2", "bad 1"}
    assert bad.error_message == "ValueError: no"
    assert bad.current_step == 2


def test_an_ended_row_can_be_started_again(worker):
    row = done(StepTask.objects.create(acts={"2": "raise"}))
    first = row.task_id
    row.acts = {}
    row.save()
    row.start_again()

    assert row.task_id != first
    assert (row.done_time, row.current_step, row.step_times) == (None, 1, {})
    assert done(row).lines == "1 2 2 1 2 3 "
    done_again = HelloTask.objects.create(name="x")
    done(done_again).start_again()
    assert done(done_again).success is True


def test_a_former_task_of_a_row_runs_none_of_its_steps_when_it_is_retried(worker):
    row = done(StepTask.objects.create(acts={"2": "raise"}))
    former = row.handle
    row.acts = {}
    row.save()
    row.start_again()
    assert done(row).lines == "1 2 2 1 2 3 "

    former.retry()
    assert ended(former) == CANCELLED
    assert "has another task by now" in former.error_message
    row.refresh_from_db()
    assert (row.lines, row.success) == ("1 2 2 1 2 3 ", True)


def test_a_waiting_row_can_be_started_again_marked_and_run_now():
    row = HelloTask.objects.create(name="x")
    first = row.task_id
    row.start_again()
    assert [task.id for task in waiting(HelloTask)] == [row.task_id]
    assert row.task_id != first

    edit("UPDATE autotask_task SET state = 0, run_at = now() + interval '1 h', ready_at = NULL")
    assert row.run_now() is True
    assert waiting(HelloTask).get().state == State.READY

    row.mark_done()
    assert waiting(HelloTask).count() == 0
    row.refresh_from_db()
    assert (row.success, row.error_message, row.done_time is None) == (None, "", False)
    assert row.run_now() is False


def test_the_commit_of_a_transaction_in_which_a_row_is_run_now_waits_for_the_disk():
    row = HelloTask.objects.create(name="x")
    with transaction.atomic():
        assert row.run_now() is True
        assert rows(connection, "SHOW synchronous_commit") == [("on",)]


def test_a_running_row_is_neither_started_again_nor_marked(worker):
    row = StepTask.objects.create(acts={"1": "wait"})
    assert gate("step 1 reached").wait(20)

    with pytest.raises(RowBusy):
        row.start_again()
    with pytest.raises(RowBusy):
        row.mark_done()
    gate("step 1").set()
    assert done(row).lines == "1 2 3 "


def test_a_value_is_not_kept_once_the_claim_is_over(other_connection):
    row = StepTask.objects.create()
    end = steps.StepEnd(row.task_id, 12345, 1, None, 0.1, 0.0)

    assert steps.advance(current(), [end], now=0.0) == 0
    assert not steps.keep(current(), row.task_id, 12345, "x", None, 0.1)
    assert Step.objects.count() == 0


def test_a_remote_task_that_is_to_be_cancelled_waits_for_a_worker_and_not_for_a_client():
    row = RemoteTask.objects.create(name="x")
    fence = let_run(row.task_id)
    edit("UPDATE autotask_task SET executor = 'thread', cancel_requested = true")
    end = steps.StepEnd(row.task_id, fence, 1, None, 0.1, 0.0, delay=300.0, executor="remote")

    assert steps.advance(current(), [end], now=0.0) == 1
    task = waiting(RemoteTask).get()
    assert (task.state, task.executor) == (State.READY, "thread")


def test_a_step_stays_in_its_pool_in_a_session_for_which_null_in_an_array_is_a_text():
    # Given: as in that of a site, which an atomic step uses
    row = StepTask.objects.create()
    end = steps.StepEnd(row.task_id, let_run(row.task_id), 1, None, 0.1, 0.0)
    execute(current(), "SET array_nulls = off")

    # When
    try:
        assert steps.advance(current(), [end], now=0.0) == 1
    finally:
        execute(current(), "RESET array_nulls")

    # Then
    task = waiting(StepTask).get()
    assert (task.state, task.executor) == (State.READY, THREAD)
    assert Step.objects.get().value is None


def test_a_row_whose_task_ended_under_a_former_name_of_its_model_is_written():
    row = HelloTask.objects.create(name="x")
    execute(current(), "UPDATE autotask_task SET name = 'model_tasks.formername'")
    assert row.handle.cancel()
    row.refresh_from_db()
    assert row.done_time is None

    Mender()._mend(connection, model_rows.tables["model_tasks.hellotask"])
    row.refresh_from_db()
    assert (row.success, row.done_time is None) == (False, False)


def test_steps_are_pruned_with_their_task(worker):
    row = done(StepTask.objects.create())
    execute(current(), "UPDATE autotask_result SET kept_until = now() - interval '1 s'")
    assert Step.objects.filter(task_id=row.task_id).count() == 2
    prune.prune(current())

    assert Step.objects.count() == 0
    row.refresh_from_db()
    assert row.success is True


def test_a_missing_table_keeps_no_task_from_being_rescued_or_cancelled(transactional_db):
    broken = model_rows.RowTable("model_tasks.hellotask", '"no_such_table"')
    rows = HelloTask.objects.bulk_create([HelloTask(name="x"), HelloTask(name="y")])
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(model_rows.tables, broken.name, broken)
        let_run(rows[0].task_id)
        edit("UPDATE autotask_task SET lost = 5 WHERE id = %(id)s", {"id": rows[0].task_id})
        with transaction.atomic():
            assert rows[1].handle.cancel()
        assert rescue.rescue(current(), [], reason="it was killed", max_crashes=3, error_ttl=60) == (0, 0, 1)
        rows_of_tasks.missed.add(broken.name)
        assert Mender().run_once(connection) == mender.SOON

    assert [row.handle.status for row in rows] == [ERROR, CANCELLED]
    Mender()._mend(connection, model_rows.tables[broken.name])
    for row in rows:
        row.refresh_from_db()
        assert row.success is False


def test_a_step_that_takes_too_long_ends_the_row(worker, monkeypatch):
    monkeypatch.setitem(StepTask.task_definition._kinds, ("default", False), _with_timeout())
    row = StepTask.objects.create(acts={"2": "spin"})

    assert done(row, 40).success is False
    assert row.error_message == "timed out after 0.3 s"
    assert (row.current_step, row.lines) == (2, "1 2 2 ")


def _with_timeout():
    return dataclasses.replace(StepTask.task_definition._kind_in("default", False), timeout=0.3)
