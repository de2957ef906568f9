"""Tasks with coroutine functions: many at a time on one event loop."""

import gc
import time

import pytest

from autotask import registry
from autotask.processes.exit_status import RECYCLED
from autotask.signals import task_ended, task_started
from autotask.store import read
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, COROUTINE, DONE, ERROR, RUNNING, WAITING
from autotask.tasks import delayed_task
from autotask.worker import watch
from tests.helpers import ended, patient, wait_until
from tests.integration.store.shapes import edit
from tests.integration.worker import stubborn, tasks
from tests.integration.worker.stubborn import began

pytestmark = pytest.mark.django_db(transaction=True)


def test_coroutines_run_by_the_hundred(start_worker, path):
    # Given
    handles = stubborn.meet.enqueue_many([(str(path), 100)] * 100)

    # When
    start_worker(threads=1)

    # Then
    assert {handle.wait(20) for handle in handles} == {100}


def test_no_more_coroutines_run_at_a_time_than_there_is_room_for(start_worker, path):
    # Given
    start_worker(coroutines=3)
    for _ in range(5):
        stubborn.doze(str(path), 60)

    # Then
    wait_until(lambda: len(stubborn.lines(path)) == 3)
    running = "SELECT count(*) FROM autotask_live WHERE state = 2 AND executor = 'coroutine'"
    assert rows(current(), running) == [(3,)]


def test_full_pools_do_not_hold_up_each_other(start_worker, path):
    # Given: all threads are busy, and more than they can take waits before the coroutine
    start_worker(threads=2, coroutines=2)
    gates = tasks.pass_gate.enqueue_many([("both",)] * 20)
    assert tasks.gate("both reached").wait(10)

    # When
    coroutines = [tasks.double(i) for i in range(10)]

    # Then
    assert [handle.wait(10) for handle in coroutines] == [2 * i for i in range(10)]

    # Given: the other way round
    tasks.gate("both").set()
    for handle in gates:
        handle.wait(10)
    for _ in range(10):
        stubborn.doze(str(path), 60)
    wait_until(lambda: len(stubborn.lines(path)) == 2)

    # Then
    assert [handle.wait(10) for handle in tasks.echo.enqueue_many([(i,) for i in range(50)])] == list(range(50))
    assert len(stubborn.lines(path)) == 2


def test_a_coroutine_that_takes_too_long_is_cancelled(worker, path):
    handle = stubborn.doze.using(timeout=1)(str(path), 60)
    assert ended(handle) is ERROR
    assert handle.error_message == "timed out after 1 s"
    assert "stubborn.py" in handle.failed_attempts[0].traceback
    assert stubborn.lines(path)[1:] == ["cleaned up"]


def test_a_running_coroutine_is_cancelled_on_request(worker, path):
    # Given
    handle = stubborn.ask_in_coroutine.using(retries=2)(str(path))
    wait_until(lambda: began(path))

    # When
    assert handle.cancel()

    # Then
    assert ended(handle) is CANCELLED
    assert stubborn.lines(path)[1:] == ["True it was cancelled"]


def test_coroutines_are_released_when_the_grace_is_over(start_worker, path, settings):
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.2
    worker = start_worker()
    handle = stubborn.doze(str(path), 60)
    wait_until(lambda: began(path))
    worker.stop()
    wait_until(lambda: handle.status is WAITING)
    assert handle.attempts == 0
    assert stubborn.lines(path)[1:] == ["cleaned up"]


def test_a_coroutine_that_shrugs_is_given_up_and_others_come_to_their_end(start_worker, path, monkeypatch):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.5)
    worker = start_worker()
    other = stubborn.doze(str(path) + " of the other", 3)
    handle = stubborn.shrug.using(timeout=1)(str(path), 60)

    # Then
    assert ended(handle) is ERROR
    assert "asyncio.sleep" in handle.failed_attempts[0].traceback
    assert ended(other) is DONE
    wait_until(lambda: worker.exit_status == RECYCLED)
    assert worker.recorder.refused == 0


def test_a_coroutine_that_blocks_the_event_loop_costs_only_its_own_task(start_worker, path, monkeypatch):
    # Given
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.5)
    worker = start_worker()
    sibling = stubborn.doze(str(path), 1)
    wait_until(lambda: began(path))

    # When
    handle = stubborn.block.using(timeout=0.5)(15)

    # Then
    assert ended(handle) is ERROR
    assert "time.sleep(seconds)" in handle.failed_attempts[0].traceback
    wait_until(lambda: worker.exit_status == RECYCLED)
    wait_until(lambda: sibling.status is WAITING)
    assert sibling.attempts == 0

    # When
    start_worker()

    # Then
    assert ended(sibling) is DONE


def test_a_blocked_event_loop_is_logged_with_the_task_and_the_line_that_blocks_it(start_worker, path, caplog):
    # Given: one that waits properly, for longer
    start_worker()
    caplog.set_level("INFO", logger="autotask.worker")
    waiting = stubborn.doze(str(path), 3)
    wait_until(lambda: began(path))

    # When
    blocking = stubborn.block(4)
    assert ended(blocking) is DONE
    assert ended(waiting) is DONE

    # Then
    wait_until(lambda: "The event loop answers again" in caplog.text)
    [line] = [record.getMessage() for record in caplog.records if "blocks the event loop" in record.getMessage()]
    assert line.startswith(f"{blocking.name} {blocking.id} blocks the event loop of this worker, for ")
    assert "so far, and 1 coroutine waits for it. Await" in line
    assert "time.sleep(seconds)" in line
    assert "coroutines.py" not in line


def test_coroutines_that_await_do_not_count_as_blocking(start_worker, path, caplog):
    start_worker()
    caplog.set_level("INFO", logger="autotask.worker")
    assert ended(stubborn.doze(str(path), 4)) is DONE
    assert "event loop" not in caplog.text


def test_a_worker_with_a_blocked_event_loop_stops_in_time(start_worker, path, settings):
    # Given: many that wait, and one that blocks
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    worker = start_worker()
    waiting = stubborn.doze.enqueue_many([(str(path), 60)] * 12)
    wait_until(lambda: len(stubborn.lines(path)) == 12)
    blocking = stubborn.block(12)
    wait_until(lambda: blocking.status is RUNNING)

    # When
    worker.stop()

    # Then: nobody asks the event loop for each of them
    began_at = time.monotonic()
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert time.monotonic() - began_at < patient(10)
    assert {handle.status for handle in waiting} == {WAITING}


def test_a_worker_without_coroutines_leaves_suspects_among_them_to_others_too(start_worker):
    # Given
    handle = stubborn.quick_coroutine(1)
    edit("UPDATE autotask_task SET lost = 1")

    # When
    start_worker(coroutines=0)

    # Then
    for number in range(20):
        assert tasks.echo(number).wait(10) == number
    assert (handle.status, handle.attempts) == (WAITING, 0)

    # When
    start_worker(coroutines=1)

    # Then
    assert handle.wait(10) == 1


def test_a_coroutine_destroyed_with_its_event_loop_is_no_error_of_the_worker(start_worker, path, monkeypatch, caplog):
    # Given: a coroutine that was given up, and has been recorded
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.2)
    worker = start_worker()
    handle = stubborn.shrug.using(timeout=1)(str(path), 600)
    assert ended(handle) is ERROR
    wait_until(lambda: not read.workers(current()), what="the sign-off")

    # When
    pool = worker.pools[COROUTINE]
    wait_until(lambda: pool.loop.is_closed(), what="the end of the event loop")
    refused = worker.recorder.refused
    wait_until(lambda: gc.collect() or stubborn.lines(path)[-1] == "destroyed", what="the end of the coroutine")

    # Then
    assert worker.recorder.refused == refused and worker.recorder.records.empty()
    lines = [record for record in caplog.records if record.levelname == "ERROR" and record.name != "autotask.task"]
    assert [record.message.partition(" does not stop")[1] for record in lines] == [" does not stop"]


def test_coroutines_share_one_connection_and_leave_none_open(worker, settings):
    # Given
    others = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name NOT LIKE 'autotask %'"  # the worker's own
    )
    assert tasks.double(1).wait(10) == 2
    before = rows(current(), others)

    # When
    for handle in stubborn.count_rows.enqueue_many([()] * 30):
        assert handle.wait(10) > 0

    # Then
    wait_until(lambda: rows(current(), others) == before)


def test_a_coroutine_can_use_the_database_after_its_connection_was_lost(start_worker):
    # Given: another coroutine keeps the pool from being idle, so the connection stays open
    start_worker()
    stubborn.doze("/dev/null", 60)
    assert stubborn.count_rows().wait(10) > 0

    # When
    execute(
        current(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name NOT LIKE 'autotask %%' AND pid <> pg_backend_pid()",
        {},
    )

    # Then: who meets the loss fails, who comes next does not
    wait_until(lambda: ended(stubborn.count_rows()) is DONE)


def test_receivers_of_signals_may_use_the_database_for_coroutines_too(worker):
    # Given
    told = []

    def receiver(signal, task, **_):
        if task.name == tasks.double.name:
            told.append((signal, rows(current(), "SELECT 1")))

    task_started.connect(receiver)
    task_ended.connect(receiver)

    # When
    try:
        assert tasks.double(4).wait(10) == 8
    finally:
        task_started.disconnect(receiver)
        task_ended.disconnect(receiver)

    # Then
    assert told == [(task_started, [(1,)]), (task_ended, [(1,)])]


def test_a_coroutine_starts_at_once_in_an_idle_worker(worker):
    assert tasks.double(1).wait(10) == 2

    def seconds():
        began_at = time.monotonic()
        assert tasks.double(2).wait(10) == 4
        return time.monotonic() - began_at

    # On a busy machine not each time
    assert any(seconds() < 0.5 for _ in range(20))


def test_a_function_that_is_no_coroutine_function_any_more_is_run_all_the_same(start_worker, monkeypatch):
    # Given
    handle = tasks.double(4)
    monkeypatch.setitem(registry._definitions, tasks.double.name, delayed_task(name="tests.plain")(plain_double))

    # When
    start_worker()

    # Then
    assert handle.wait(10) == 12


def plain_double(value):
    return 3 * value
