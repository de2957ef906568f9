"""Workers in a crowd: many queues, prefetched tasks, and listeners that fail."""

import contextvars
import threading

import pytest

from autotask.signals import task_ended, task_started
from autotask.store import read, ready
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, WAITING, State
from autotask.tasks import delayed_task
from tests.helpers import wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

colour = contextvars.ContextVar("colour", default="none")


@delayed_task
def paint(value):
    before = colour.get()
    colour.set(value)
    return before


@delayed_task
def name_of_thread():
    return threading.current_thread().name


@delayed_task
def stay_in_a_thread():
    """Leave a thread behind that goes on for a while."""
    tasks.gate("left behind").clear()
    threading.Thread(target=tasks.gate("left behind").wait, args=(20,), daemon=True).start()


@delayed_task
def change_session():
    execute(current(), "SET statement_timeout = '1ms'")
    execute(current(), "SET search_path = nowhere")
    raise ValueError("and leave")


def test_more_queues_than_one_claim_looks_at_are_all_served(start_worker):
    # Given
    handles = [tasks.echo.using(queue=f"queue{number:03}")(number) for number in range(130)]
    urgent = tasks.echo.using(queue="zzz", priority=100)("urgent")

    # When
    start_worker()

    # Then
    assert urgent.wait(20) == "urgent"
    assert [handle.wait(20) for handle in handles] == list(range(130))


def test_a_task_that_was_fetched_ahead_can_be_cancelled_before_it_starts(start_worker):
    # Given a worker that fetches ahead, because its tasks are short
    worker = start_worker(threads=1)
    for handle in tasks.echo.enqueue_many([(number,) for number in range(50)]):
        handle.wait(10)
    blocking = tasks.pass_gate("ahead")
    ahead = tasks.echo.enqueue_many([(number,) for number in range(20)])
    assert tasks.gate("ahead reached").wait(10)

    # When they are cancelled, wherever they are
    states = {read.task(current(), handle.id).state for handle in ahead}
    assert all(handle.cancel() for handle in ahead)
    held = {handle.id for handle in ahead} & worker.held.ids()
    wait_until(lambda: held <= worker.held.cancelled, what="the worker's knowledge of the requests")
    tasks.gate("ahead").set()

    # Then none of them ran
    assert blocking.wait(10) == "ahead"
    for handle in ahead:
        wait_until(lambda handle=handle: handle.ready)
    assert {handle.status for handle in ahead} == {CANCELLED}
    assert states <= {State.READY, State.RUNNING}
    assert tasks.echo("next").wait(10) == "next"


def test_a_worker_in_a_hurry_ends_when_there_is_nothing_left_to_do(start_worker):
    # Given
    handles = tasks.echo.enqueue_many([(number,) for number in range(30)])
    later = tasks.echo.using(delay=60)("later")

    # When
    worker = start_worker(burst=True)

    # Then
    wait_until(lambda: not read.workers(current()) and worker.shutdown.is_requested(), what="the end of the worker")
    assert {handle.status for handle in handles} == {DONE}
    assert later.status is WAITING


def test_context_variables_of_a_task_do_not_reach_the_next(start_worker):
    start_worker(threads=1)
    handles = [paint(value) for value in ("red", "blue", "green")]
    assert [handle.wait(10) for handle in handles] == ["none"] * 3


def test_a_thread_that_a_task_leaves_behind_holds_up_nobody(start_worker):
    start_worker(threads=1)
    stay_in_a_thread().wait(10)
    assert name_of_thread().wait(10).startswith("autotask-")
    tasks.gate("left behind").set()


def test_a_listener_that_fails_harms_neither_task_nor_worker(worker):
    # Given
    def receiver(**_):
        raise SystemError("the listener is broken")

    task_started.connect(receiver)
    task_ended.connect(receiver)

    # When, then
    try:
        assert tasks.echo(1).wait(10) == 1
        assert tasks.echo(2).wait(10) == 2
    finally:
        task_started.disconnect(receiver)
        task_ended.disconnect(receiver)


def test_receivers_are_notified_of_each_attempt(worker, tmp_path):
    # Given
    told = []

    def on_start(task, **_):
        if task.name == tasks.fail_until.name:
            told.append(("started", task.attempt))

    def on_end(task, state, seconds, error_message, exception, **_):
        if task.name == tasks.fail_until.name:
            told.append((state.name, task.attempt, error_message, type(exception).__name__))

    task_started.connect(on_start)
    task_ended.connect(on_end)

    # When
    try:
        tasks.fail_until(str(tmp_path / "calls"), 2).wait(10)
    finally:
        task_started.disconnect(on_start)
        task_ended.disconnect(on_end)

    # Then
    assert told == [
        ("started", 1),
        ("RETRY", 1, "ValueError: call 1", "ValueError"),
        ("started", 2),
        ("DONE", 2, "", "NoneType"),
    ]


def test_neither_arguments_nor_results_are_in_the_log(worker, caplog):
    caplog.set_level("DEBUG", logger="autotask")
    tasks.echo("hunter2").wait(10)
    wait_until(lambda: "echo" in caplog.text)
    assert "hunter2" not in caplog.text


def test_a_task_is_run_while_another_connection_locks_its_neighbours(start_worker, other_connection):
    # Given
    blocked, free = tasks.echo("blocked"), tasks.echo("free")
    execute(other_connection, "BEGIN")
    rows(other_connection, "SELECT 1 FROM autotask_ready WHERE id = %(id)s FOR UPDATE", {"id": blocked.id})

    # When
    start_worker()

    # Then
    assert free.wait(10) == "free"
    assert blocked.status is WAITING
    execute(other_connection, "ROLLBACK")
    assert blocked.wait(10) == "blocked"


def test_a_long_transaction_that_enqueues_late_is_not_overlooked(worker, other_connection):
    # Given a worker whose lower bound lies behind the row that is still invisible
    hidden = tasks.echo.using(delay=60)("hidden")
    execute(other_connection, "BEGIN")
    execute(
        other_connection,
        f"""
        WITH t AS (
            UPDATE autotask_task t SET state = 1, ready_at = clock_timestamp() - interval '1 hour' WHERE id = %(id)s
            RETURNING {ready.RETURNING}
        )
        {ready.come("t")}
        """,
        {"id": hidden.id},
    )
    for number in range(20):
        assert tasks.echo(number).wait(10) == number

    # When
    execute(other_connection, "COMMIT")

    # Then
    assert hidden.wait(15) == "hidden"


def test_without_active_autotask_nothing_is_stored(settings):
    settings.AUTOTASK_IS_ACTIVE = False
    assert tasks.echo("now") == "now"
    assert tasks.double.call(2) == 4
    assert rows(current(), "SELECT count(*) FROM autotask_live") == [(0,)]
