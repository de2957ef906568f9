"""Control from inside: retry, snooze, cancel, stop requests and progress, and their options."""

import contextvars
import datetime
import logging
import re
import time

import pytest
from django.db import transaction

from autotask.context import Progress, TaskContext, enter
from autotask.exceptions import InvalidOption, TaskCancelled
from autotask.handle import TaskHandle
from autotask.store import finish, progress, rescue
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING, State, new_id
from autotask.tasks import Cancel, Discard, Retry, Snooze, cron_task, delayed_task, periodic_task
from autotask.worker.reporter import Reporter
from tests.gates import gate
from tests.helpers import ended, wait_until
from tests.integration.store.shapes import let_run
from tests.integration.worker import inside, tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "calls")


def calls(path):
    with open(path) as file:
        return len(file.read())


def seconds_until_due(handle):
    ((seconds,),) = rows(
        current(),
        "SELECT extract(epoch FROM run_at - clock_timestamp())::float8 FROM autotask_live WHERE id = %(id)s",
        {"id": handle.id},
    )
    return seconds


# --- Retry, Snooze, Cancel, Discard ---------------------------------------------------------------------------------


def test_a_retry_waits_as_long_as_it_says_and_spends_the_retries(worker, path):
    # When
    handle = inside.retry_always(path)

    # Then
    assert ended(handle) is ERROR
    assert (calls(path), handle.attempts) == (2, 2)
    assert handle.error_message == "Retry: their server is busy (no retries are left: retries=1)"
    assert [(a.state, a.error_message) for a in handle.failed_attempts] == [
        (State.RETRY, "Retry: their server is busy"),
        (State.ERROR, handle.error_message),
    ]


def test_a_task_that_snoozes_is_run_again_after_its_time_and_spends_nothing(worker, path):
    # When
    began = time.monotonic()
    handle = inside.snooze_once(path, 0.5)

    # Then
    assert handle.wait(20) - began >= 0.5
    assert (calls(path), handle.attempts, handle.failed_attempts) == (2, 1, [])


def test_while_it_snoozes_a_task_waits_as_if_it_had_not_been_run(worker, path):
    # When
    handle = inside.snooze_once(path, 3600)

    # Then
    wait_until(lambda: seconds_until_due(handle) > 3000, what="the snooze")
    assert (handle.status, handle.attempts, handle.error_message) == (WAITING, 0, "")


def test_a_task_that_is_to_be_cancelled_does_not_snooze(worker):
    # Given
    handle = inside.snooze_behind_gate("drowsy")
    assert gate("drowsy reached").wait(10)

    # When
    assert handle.cancel()
    wait_until(lambda: handle.id in worker.held.cancelled, what="the worker's knowledge of the request")
    gate("drowsy").set()

    # Then
    assert ended(handle) is CANCELLED


def test_cancel_ends_a_task_with_its_reason_and_without_another_try(worker, path):
    # When
    handle = inside.cancel(path, "the order was paid")

    # Then
    with pytest.raises(TaskCancelled, match=r"was cancelled: the order was paid\."):
        handle.wait(10)
    assert (handle.status, handle.error_message, handle.result) == (CANCELLED, "the order was paid", None)
    assert calls(path) == 1


def test_discard_ends_a_task_without_another_try_and_without_noise(worker, path, caplog):
    # When
    with caplog.at_level(logging.DEBUG, "autotask.task"):
        handle = inside.discard(path, "the user is gone")
        assert ended(handle) is CANCELLED

    # Then
    assert (handle.error_message, calls(path)) == ("discarded: the user is gone", 1)
    assert [attempt.traceback for attempt in handle.failed_attempts] == [""]
    assert {record.levelname for record in caplog.records if str(handle.id) in record.getMessage()} == {"DEBUG"}


def test_a_task_that_cancelled_itself_can_be_retried_by_hand(worker, path):
    # Given
    handle = inside.cancel(path, "not now")
    assert ended(handle) is CANCELLED

    # When
    handle.retry()

    # Then
    assert ended(handle) is CANCELLED
    assert calls(path) == 2


@pytest.mark.parametrize(
    ("call", "raised"),
    [
        (lambda path: inside.retry_always.call(path), Retry),
        (lambda path: inside.snooze_once.call(path, 5), Snooze),
        (lambda path: inside.cancel.call(path, "why"), Cancel),
        (lambda path: inside.discard.call(path, "why"), Discard),
    ],
)
def test_a_call_in_place_raises_the_exception_of_the_function(call, raised, path):
    with pytest.raises(raised):
        call(path)


@pytest.mark.parametrize("where", inside.EVERYWHERE)
@pytest.mark.parametrize(
    ("word", "status", "message"),
    [
        ("retry", WAITING, "Retry: busy"),
        ("snooze", WAITING, ""),
        ("cancel", CANCELLED, "why"),
        ("discard", CANCELLED, "discarded: why"),
    ],
)
def test_all_of_it_works_wherever_a_task_runs(start_worker, settings, where, word, status, message):
    # Given
    settings.AUTOTASK_EXECUTORS = {"everywhere": ("tests.integration.worker.everywhere.threads", 2)}
    start_worker(threads=2, coroutines=2, processes=1)

    # When
    handle = inside.EVERYWHERE[where](word)

    # Then
    if status is WAITING:
        wait_until(lambda: seconds_until_due(handle) > 3000, what="what it said")
    else:
        wait_until(lambda: handle.ready, what="its end")
    assert (handle.status, handle.error_message) == (status, message)
    # Nothing comes back from an executor of the project but the end.
    assert handle.progress == (None if where == "executor" else Progress(1.0, 2.0))


# --- the context ----------------------------------------------------------------------------------------------------


def test_a_task_knows_its_id_and_its_attempt(worker, caplog):
    # When
    with caplog.at_level(logging.INFO, "autotask.task"):
        handle = inside.tell(1, "two", three=3)
        told = handle.wait(10)

    # Then
    assert told == (handle.id, inside.tell.name, 2, None, False, (1, "two"), {"three": 3})
    lines = [record for record in caplog.records if record.getMessage() == f"{inside.tell.name} {handle.id}: told"]
    assert [record.attempt for record in lines] == [1, 2]


def test_the_context_is_no_argument_of_the_call():
    handle = inside.tell_in_a_coroutine(5)
    assert _row(handle)["arguments"] == "value=5"
    with pytest.raises(TypeError, match=r"tell_in_a_coroutine\(value: int\).*: missing .*'value'"):
        inside.tell_in_a_coroutine()


def _row(handle):
    with current().cursor() as cursor:
        cursor.execute("SELECT * FROM autotask_record WHERE id = %s", [handle.id])
        return dict(zip([column.name for column in cursor.description], cursor.fetchone(), strict=True))


def test_a_coroutine_gets_a_context_too(worker):
    assert inside.tell_in_a_coroutine(7).wait(10) == (1, True, 7)


def test_deeper_code_finds_the_context_also_of_a_task_that_takes_none(worker):
    handle = inside.look_for_context()
    assert handle.wait(10) == str(handle.id)


@pytest.mark.schedules("tests.inside.tick")
def test_the_task_of_a_tick_knows_its_tick(worker):
    # When
    def ended():
        return rows(
            current(),
            "SELECT id, scheduled_for AT TIME ZONE 'UTC' FROM autotask_result WHERE schedule = 'tests.inside.tick'",
        )

    (id, tick), *_ = wait_until(ended, what="the first tick")

    # Then
    assert TaskHandle(id).result == tick.replace(tzinfo=datetime.UTC)


def test_a_call_in_place_has_a_context_of_its_own_and_inside_a_task_that_of_the_task():
    # Given
    context = TaskContext(new_id(), "outer", 2)

    # When, then
    with pytest.raises(ValueError, match="first"):
        inside.tell.call()

    def run():
        enter(context)
        return inside.tell.call(5)

    assert contextvars.Context().run(run)[:3] == (context.id, "outer", 2)


def test_without_autotask_a_call_gets_a_context_as_well(settings):
    settings.AUTOTASK_IS_ACTIVE = False
    with pytest.raises(ValueError, match="first"):
        inside.tell()
    assert inside.report_nonsense() == "survived"


@pytest.mark.parametrize("decorator", [delayed_task, periodic_task, cron_task])
def test_a_function_without_a_place_for_the_context_is_refused(decorator):
    def takes_nothing():
        pass

    with pytest.raises(
        InvalidOption, match="'takes_context' of .*takes_nothing must be False unless the first argument is the context"
    ):
        decorator(takes_context=True)(takes_nothing)


def test_a_task_is_asked_to_stop_when_it_is_cancelled(worker, path):
    # Given
    handle = inside.stop_when_told(path)
    wait_until(lambda: handle.status is RUNNING)

    # When
    assert handle.cancel()

    # Then
    assert handle.wait(20) == "it was cancelled"


# --- progress -------------------------------------------------------------------------------------------------------


def test_progress_can_be_read_while_the_task_runs_and_its_last_word_stays(worker):
    # When
    handle = inside.report("words", (1, 4), (2, 4), (4, 4))

    # Then
    wait_until(lambda: handle.progress == Progress(2.0, 4.0), what="the word before the last")
    assert handle.status is RUNNING

    # When
    gate("words").set()

    # Then
    assert ended(handle) is DONE
    assert handle.progress == Progress(4.0, 4.0)
    assert worker.reporter.last == {}


def test_progress_is_written_about_once_a_second_however_often_it_is_reported(monkeypatch):
    # Given
    written = []
    note = progress.note
    monkeypatch.setattr(progress, "note", lambda *args: written.append(args[1]) or note(*args))
    handle = tasks.echo(1)
    fence = let_run(handle.id)
    reporter = Reporter(lambda claim: True)

    # When
    for number in range(10_000):
        reporter.report((handle.id, fence), Progress(number))

    # Then
    assert reporter.run_once(current()) == 1.0
    assert reporter.run_once(current()) == 1.0
    assert written == [{(handle.id, fence): Progress(9_999)}]
    assert handle.progress == Progress(9_999.0)


def test_progress_reported_after_the_end_is_dropped(monkeypatch):
    # Given
    written = []
    monkeypatch.setattr(progress, "note", lambda connection, reports: written.append(reports) or set())
    claim, held = (new_id(), 7), [True]
    reporter = Reporter(lambda claim: held[0])
    reporter.report(claim, Progress(1))

    # When: a task that was given up goes on
    held[0] = False
    reporter.forget([claim])
    reporter.report(claim, Progress(2))
    reporter.run_once(current())

    # Then
    assert written == []
    assert reporter.last_word(claim) is None


def test_progress_reported_during_a_write_is_written_the_next_time(monkeypatch):
    # Given
    claim = new_id(), 7
    reporter = Reporter(lambda claim: True)

    def note(connection, reports):
        reporter.report(claim, Progress(2))
        return set(reports)

    monkeypatch.setattr(progress, "note", note)
    reporter.report(claim, Progress(1))

    # When
    reporter.run_once(current())

    # Then
    assert reporter.last_word(claim) == Progress(2)


def test_the_last_word_before_a_snooze_is_kept(worker):
    handle = inside.report_and_snooze()
    wait_until(lambda: seconds_until_due(handle) > 3000, what="the snooze")
    assert handle.progress == Progress(3.0, 4.0)


def test_nonsense_about_progress_does_not_fail_the_task(worker):
    handle = inside.report_nonsense()
    assert handle.wait(10) == "survived"
    assert handle.progress is None


def test_a_row_that_is_locked_holds_up_neither_the_task_nor_its_worker(worker, other_connection):
    # Given
    handle = inside.report("locked", (1, 3), (3, 3))
    assert gate("locked reached").wait(10)
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": handle.id})

    # When
    gate("locked").set()

    # Then
    assert tasks.echo("others").wait(10) == "others"
    assert handle.status is RUNNING

    # When
    execute(other_connection, "ROLLBACK")

    # Then
    assert ended(handle) is DONE
    assert handle.progress == Progress(3.0, 3.0)


# --- expires --------------------------------------------------------------------------------------------------------


def test_a_task_that_nobody_has_begun_in_time_is_cancelled_and_says_so(start_worker, path):
    # Given
    late = tasks.write.using(expires=0.01)(path, "late")
    early = tasks.write.using(expires=3600)(path, "early")
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    long_ago = tasks.write.using(expires=past).enqueue_many([(path, "long ago")])[0]

    # When
    wait_until(
        lambda: (
            not rows(current(), "SELECT 1 FROM autotask_live WHERE id = %(id)s AND expires_at > now()", {"id": late.id})
        )
    )
    start_worker()

    # Then
    assert ended(early) is DONE
    for handle in (late, long_ago):
        assert ended(handle) is CANCELLED
        assert re.fullmatch(r"expired: it was claimed \S+ seconds too late", handle.error_message)
        assert (handle.attempts, handle.failed_attempts) == (0, [])
    with open(path) as file:
        assert file.read() == "early\n"


def test_no_further_attempt_begins_after_the_time_either(start_worker, path):
    # Given a task whose first attempt fails in time
    handle = tasks.fail_until.using(expires=3600)(path, 9)
    execute(current(), "UPDATE autotask_task SET expires_at = clock_timestamp() + interval '1 s'")
    start_worker()
    wait_until(lambda: handle.attempts == 1 and handle.error_message)

    # When
    execute(current(), "UPDATE autotask_task SET expires_at = clock_timestamp() - interval '1 s'")

    # Then
    assert ended(handle) is CANCELLED
    assert "expired" in handle.error_message
    assert handle.attempts == calls(path)


def test_a_task_that_has_expired_can_be_run_by_hand_all_the_same(worker, path):
    # Given
    handle = tasks.write.using(expires=0)(path, "at last")
    assert ended(handle) is CANCELLED

    # When
    handle.retry()

    # Then
    assert ended(handle) is DONE


# --- atomic ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def effects(transactional_db):
    """A table for the effects of tasks; returns what is in it."""
    execute(current(), "CREATE TABLE inside_effect (text text)")
    yield lambda: [text for (text,) in rows(current(), "SELECT text FROM inside_effect ORDER BY text")]
    execute(current(), "DROP TABLE inside_effect")


def test_effect_and_outcome_of_an_atomic_task_are_committed_by_one_transaction(worker, effects, monkeypatch):
    # Given
    recorded = []
    end = finish.end
    monkeypatch.setattr(finish, "end", lambda *args, **kwargs: recorded.extend(args[1]) or end(*args, **kwargs))

    # When
    handle = inside.effect("x")

    # Then
    assert handle.wait(10) == "x"
    ((same,),) = rows(
        current(),
        "SELECT e.xmin = r.xmin FROM inside_effect e, autotask_result r WHERE r.id = %(id)s",
        {"id": handle.id},
    )
    assert same
    wait_until(lambda: handle.id not in worker.held.ids(), what="the end of the claim")
    assert [outcome.id for outcome in recorded].count(handle.id) == 1


def test_the_effect_of_an_atomic_task_that_fails_is_undone(worker, effects, path):
    handle = inside.effect_and_fail(path)
    assert handle.wait(10) == "second"
    assert effects() == ["x"]
    assert handle.attempts == 2


def test_an_atomic_task_that_has_lost_its_claim_undoes_its_effect_and_leaves_the_newer_attempt_alone(worker, effects):
    # Given
    handle = inside.effect_behind_gate("claim lost")
    assert gate("claim lost reached").wait(10)

    # When: it is taken from this worker, which does not notice
    execute(
        current(),
        "UPDATE autotask_task SET state = 0, run_at = now() + interval '1 h' WHERE id = %(id)s",
        {"id": handle.id},
    )
    execute(current(), "DELETE FROM autotask_claim WHERE %(id)s = ANY(ids)", {"id": handle.id})
    gate("claim lost").set()

    # Then
    wait_until(lambda: worker.recorder.refused == 1, what="the refusal")
    assert effects() == []
    assert handle.status is WAITING
    assert tasks.query().wait(10) == (1, False)


def test_a_result_that_cannot_be_stored_undoes_the_effect_and_is_not_tried_again(worker, effects, path):
    handle = inside.effect_with_bad_result.using(retries=3)(path)
    assert ended(handle) is ERROR
    assert "cannot be pickled" in handle.error_message
    assert (effects(), calls(path)) == ([], 1)


def test_the_last_word_of_an_atomic_task_is_kept(worker, effects):
    handle = inside.effect_with_progress()
    handle.wait(10)
    assert handle.progress == Progress(1.0, 1.0)
    wait_until(lambda: worker.reporter.last == {})


def test_a_hook_that_fails_after_the_commit_does_not_undo_the_outcome(worker, effects, caplog):
    handle = inside.effect_and_broken_hook()
    assert handle.wait(10) == "committed"
    assert effects() == ["x"]
    wait_until(lambda: handle.id not in worker.held.ids(), what="the end of the claim")
    assert "an on_commit function failed" in caplog.text


def test_an_atomic_task_that_snoozes_leaves_no_effect(worker, effects):
    handle = inside.effect_and_snooze()
    wait_until(lambda: seconds_until_due(handle) > 3000, what="the snooze")
    assert effects() == []


def test_a_running_atomic_task_can_be_cancelled_and_its_row_is_not_locked(worker, effects):
    # Given
    handle = inside.effect_behind_gate("unlocked")
    assert gate("unlocked reached").wait(10)

    # When
    with transaction.atomic():
        execute(current(), "SET LOCAL lock_timeout = '1s'")
        assert handle.cancel()
    gate("unlocked").set()

    # Then what it returns counts
    assert handle.wait(20) == "unlocked"


def test_without_atomic_an_effect_is_committed_by_itself(worker, effects):
    handle = inside.effect_in_autocommit("plain")
    assert gate("plain reached").wait(10)
    assert effects() == ["plain"]
    gate("plain").set()
    assert ended(handle) is ERROR
    assert effects() == ["plain"]


def test_a_coroutine_function_cannot_be_atomic():
    async def coroutine():
        pass

    with pytest.raises(InvalidOption, match="'atomic' of .* must be False: Django has no transactions in coroutines"):
        delayed_task(atomic=True)(coroutine)


# --- at_most_once ---------------------------------------------------------------------------------------------------


def test_a_task_that_runs_at_most_once_ends_in_error_when_its_worker_counts_as_dead(worker, path):
    # Given
    handle = inside.once(path, "once")
    assert gate("once reached").wait(10)

    # When
    ((worker_id,),) = rows(current(), "SELECT worker_id FROM autotask_live WHERE id = %(id)s", {"id": handle.id})

    def bury():
        return rescue.rescue(current(), [worker_id], reason="signal 9 (SIGKILL)", max_crashes=3, error_ttl=60.0)[0]

    wait_until(bury, what="a moment between two heartbeats")
    gate("once").set()

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message == "its worker died: signal 9 (SIGKILL); at_most_once: it is not run again"
    assert tasks.echo(1).wait(10) == 1
    assert calls(path) == 1


def test_a_task_that_runs_at_most_once_is_not_released_by_a_worker_that_stops(start_worker, settings, path):
    # Given
    worker = start_worker(threads=1)
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.2
    handle = inside.once(path, "once, stopped")
    waiting = inside.once(path, "never begun")
    assert gate("once, stopped reached").wait(10)

    # When
    worker.stop()

    # Then
    assert ended(handle) is ERROR
    assert "at_most_once: it is not run again" in handle.error_message
    assert (waiting.status, waiting.attempts) == (WAITING, 0)
    gate("once, stopped").set()


# --- retention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ends", "gone"), [(CANCELLED, True), (ERROR, False)])
def test_a_result_without_success_is_pruned_after_its_time_with_its_attempts(start_worker, settings, path, ends, gone):
    # Given
    settings.AUTOTASK_CLEAN_INTERVAL = 1
    settings.AUTOTASK_ERROR_TTL = 3600
    start_worker()
    task = inside.cancel if ends is CANCELLED else tasks.fail_with_value_error
    handle = task.using(ttl=0)(*((path, "why") if ends is CANCELLED else ()))
    done = tasks.echo.using(ttl=0)(1)

    # When
    wait_until(lambda: not rows(current(), "SELECT 1 FROM autotask_result WHERE id = %(id)s", {"id": done.id}))

    # Then
    def left():
        return [
            rows(current(), f"SELECT count(*) FROM {table} WHERE {column} = %(id)s", {"id": handle.id})[0][0]
            for table, column in (("autotask_task", "id"), ("autotask_result", "id"), ("autotask_attempt", "task_id"))
        ]

    wait_until(lambda: left() == ([0, 0, 0] if gone else [0, 1, 1]))
