"""Time limits, cancellation of running tasks, and the end of a worker whose tasks do not stop."""

import sys
import threading
import time
import traceback

import pytest

from autotask.processes.exit_status import RECYCLED
from autotask.store import read
from autotask.store.connection import current, execute
from autotask.task import CANCELLED, DONE, ERROR, WAITING, State
from autotask.worker import shutdown, watch
from tests.helpers import ended, wait_until
from tests.integration.store.shapes import edit
from tests.integration.worker import stubborn, tasks
from tests.integration.worker.stubborn import began

pytestmark = pytest.mark.django_db(transaction=True)


def stands_still(thread):
    """Whether a thread that was given up does nothing more, which it finds out before it calls something."""
    frame = sys._current_frames().get(thread.ident)
    return frame is None or "_settle" in {line.name for line in traceback.extract_stack(frame)}


def test_a_task_that_takes_too_long_ends_in_error_and_can_clean_up(worker, path):
    # When
    began_at = time.monotonic()
    handle = stubborn.spin.using(timeout=1)(str(path))

    # Then
    assert ended(handle) is ERROR
    assert time.monotonic() - began_at >= 1
    assert handle.error_message == "timed out after 1 s"
    assert "stubborn.py" in handle.failed_attempts[0].traceback
    assert stubborn.lines(path)[1:] == ["cleaned up"]
    assert tasks.echo(1).wait(10) == 1


def test_the_setting_is_the_limit_of_tasks_that_have_none(start_worker, settings, path):
    settings.AUTOTASK_TIMEOUT = 0.3
    start_worker()
    handle = stubborn.spin(str(path))
    assert ended(handle) is ERROR
    assert handle.error_message == "timed out after 0.3 s"


def test_a_task_that_took_too_long_is_tried_again_while_retries_remain(worker, path):
    handle = stubborn.spin.using(timeout=0.2, retries=1)(str(path))
    assert ended(handle, 20) is ERROR
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert {attempt.error_message for attempt in handle.failed_attempts} == {"timed out after 0.2 s"}


def test_an_exception_that_a_task_raises_because_it_was_interrupted_counts_as_the_time_limit(worker, path):
    handle = stubborn.turn_into_another.using(timeout=1)(str(path))
    assert ended(handle) is ERROR
    assert handle.error_message == "timed out after 1 s"
    assert "ValueError: could not finish" in handle.failed_attempts[0].traceback


def test_a_value_that_an_interrupted_task_returns_is_its_result(worker, path):
    assert stubborn.return_when_interrupted.using(timeout=1)(str(path)).wait(10) == "as far as I came"


def test_a_task_in_a_call_of_c_makes_its_worker_leave_when_the_others_have_ended(start_worker, path, monkeypatch):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.5)
    worker = start_worker(threads=3)
    sibling = tasks.pass_gate("sibling")
    assert tasks.gate("sibling reached").wait(10)

    # When
    hung = stubborn.sleep.using(timeout=1)(str(path), 15.0)

    # Then: it is recorded at once, with the place where it hangs
    assert ended(hung) is ERROR
    assert hung.error_message == "timed out after 1 s"
    assert "in sleep" in hung.failed_attempts[0].traceback
    assert "time.sleep(seconds)" in hung.failed_attempts[0].traceback

    # Then: nothing more is claimed, but the sibling is waited for
    later = tasks.echo("later")
    over = time.monotonic() + 1
    wait_until(lambda: time.monotonic() > over)
    assert later.status is WAITING
    assert read.workers(current())
    tasks.gate("sibling").set()
    assert sibling.wait(10) == "sibling"
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert worker.exit_status == RECYCLED
    assert worker.recorder.refused == 0

    # Then
    start_worker()
    assert later.wait(10) == "later"


def test_a_worker_that_is_recycled_does_not_wait_for_the_others_without_end(start_worker, path, monkeypatch, settings):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.3)
    monkeypatch.setattr(shutdown, "RECYCLE_WITHIN", 1.0)
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    worker = start_worker()
    spinning = stubborn.spin(str(path))
    wait_until(lambda: began(path))

    # When
    asked_at = time.monotonic()
    hung = stubborn.sleep.using(timeout=0.2)(str(path), 15.0)

    # Then: once the hung one was given up, it waits for as long as it may
    assert ended(hung) is ERROR
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert time.monotonic() - asked_at >= 0.2 + watch.STOP_WITHIN + shutdown.RECYCLE_WITHIN
    assert (spinning.status, spinning.attempts) == (WAITING, 0)
    assert "cleaned up" in stubborn.lines(path)
    assert worker.exit_status == RECYCLED


def test_a_task_that_swallows_the_interruption_is_given_up(start_worker, path, monkeypatch):
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.5)
    worker = start_worker()
    end = path.with_name("end")
    handle = stubborn.swallow.using(timeout=1)(str(path), str(end))
    assert ended(handle) is ERROR
    wait_until(lambda: worker.exit_status == RECYCLED)
    end.touch()
    # It finishes after all, and is ignored.
    wait_until(lambda: "went on to the end" in stubborn.lines(path))
    assert stubborn.lines(path)[1] == "swallowed TimeLimitExceeded"
    assert worker.recorder.refused == 0


def test_a_task_that_hangs_before_its_function_is_called_is_given_up_and_not_called_any_more(
    start_worker, path, monkeypatch
):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.3)
    worker = start_worker()

    # When
    handle = stubborn.take.using(timeout=1)(str(path), stubborn.Slow("unpickled"))

    # Then
    assert ended(handle) is ERROR
    assert "__setstate__" in handle.failed_attempts[0].traceback
    wait_until(lambda: worker.exit_status == RECYCLED)
    (thread,) = stubborn.Slow.threads
    tasks.gate("unpickled").set()
    wait_until(lambda: stands_still(thread), what="the end of the unpickling")
    assert stubborn.lines(path) == []


def test_a_running_task_is_cancelled(start_worker, path, settings):
    # Given: a worker whose next heartbeat comes only in a minute
    worker = start_worker()
    settings.AUTOTASK_HEARTBEAT = 60
    wait_until(lambda: worker.registration.is_fresh())
    handle = stubborn.spin.using(retries=3)(str(path))
    wait_until(lambda: began(path))

    # When
    assert handle.cancel() is True

    # Then
    assert ended(handle) is CANCELLED
    assert stubborn.lines(path)[1:] == ["cleaned up"]
    assert handle.attempts == 1
    assert tasks.echo(1).wait(10) == 1


def test_a_task_that_looks_is_asked_to_stop_before_it_is_interrupted(worker, path):
    # Given
    handle = stubborn.ask(str(path))
    wait_until(lambda: began(path))

    # When
    handle.cancel()

    # Then
    ended(handle)
    assert stubborn.lines(path)[1:] == ["it was cancelled"]


def test_a_task_is_asked_to_stop_when_its_worker_stops(start_worker, path, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 10
    worker = start_worker()
    handle = stubborn.ask(str(path))
    wait_until(lambda: began(path))

    # When
    worker.stop()

    # Then
    assert ended(handle) is DONE
    assert handle.result == "its worker stops"


def test_a_task_that_runs_when_the_grace_is_over_is_interrupted_and_released(start_worker, path, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    worker = start_worker()
    handle = stubborn.spin(str(path))
    wait_until(lambda: began(path))

    # When
    worker.stop()

    # Then
    wait_until(lambda: handle.status is WAITING)
    assert handle.attempts == 0
    assert handle.failed_attempts == []
    assert stubborn.lines(path)[1:] == ["cleaned up"]


def test_a_row_that_is_deleted_or_edited_under_a_running_task_costs_one_log_line(worker, path, caplog):
    # Given
    edited, deleted = tasks.pass_gate("edited"), tasks.pass_gate("deleted under")
    for name in ("edited", "deleted under"):
        assert tasks.gate(f"{name} reached").wait(10)

    # When
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": deleted.id})
    edit("UPDATE autotask_task SET queue = 'other', priority = 3 WHERE id = %(id)s", {"id": edited.id})
    for name in ("edited", "deleted under"):
        tasks.gate(name).set()

    # Then
    assert edited.wait(10) == "edited"
    wait_until(lambda: worker.recorder.refused == 1)
    wait_until(lambda: any("refused" in record.message for record in caplog.records))
    assert sum("refused" in record.message for record in caplog.records) == 1
    assert tasks.echo(1).wait(10) == 1


def test_an_interruption_never_reaches_the_next_task(start_worker):
    # Given: one thread, and tasks that end just before they are to be interrupted, or just after
    worker = start_worker(threads=1)
    timeouts = [(100 + i % 10) / 1000 for i in range(40)]
    handles = [tasks.nap.using(timeout=timeout)(0.105) for timeout in timeouts]
    innocent = tasks.echo.enqueue_many([(i,) for i in range(200)])

    # When
    stop = threading.Event()

    def look_often():
        while not stop.is_set():
            worker.watch.wake()
            time.sleep(0.0005)

    looker = threading.Thread(target=look_often)
    looker.start()

    # Then
    try:
        assert [handle.wait(30) for handle in innocent] == list(range(200))
        for handle in handles:
            ended(handle, 30)
    finally:
        stop.set()
        looker.join()
    assert {handle.error_message for handle in handles} <= {""} | {f"timed out after {each:g} s" for each in timeouts}
    assert any(handle.status is ERROR for handle in handles)
