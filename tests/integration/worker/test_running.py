"""Outcomes of tasks in a worker: results, errors, retries, delays and queues."""

import asyncio
import datetime
import logging
import time
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from autotask import payload
from autotask.exceptions import PayloadRefused, TaskFailed
from autotask.handle import TaskHandle
from autotask.signals import task_ended
from autotask.store import enqueue, promote, read, tally
from autotask.store.connection import current, execute
from autotask.task import CANCELLED, DONE, ERROR, WAITING, State
from autotask.worker import spare_loggers
from tests.helpers import ended, wait_until
from tests.integration.worker import stubborn, tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]


@pytest.mark.parametrize(
    "value",
    [0, None, "", "ä\0\ud800", b"\x00\xff", [1, {"a": (2, {3})}], datetime.date(2026, 2, 3), float("inf")],
    ids=repr,
)
def test_a_result_comes_back_as_it_was(worker, value):
    assert tasks.echo(value).wait(10) == value


def test_a_coroutine_function_is_run(worker):
    assert tasks.double(21).wait(10) == 42


def test_atomic_says_so_where_a_decorator_hides_a_coroutine_function(worker, tmp_path):
    handle = tasks.hide_in_a_transaction(str(tmp_path / "ran"))
    assert ended(handle) is ERROR
    assert "returned a coroutine" in handle.error_message


def test_a_task_can_enqueue_another(worker):
    # When
    inner = tasks.enqueue_another(5).wait(10)

    # Then
    wait_until(lambda: read.task(current(), inner).state is State.DONE)


def test_a_task_that_fails_is_tried_again_until_it_succeeds(worker, tmp_path):
    # When
    handle = tasks.fail_until(str(tmp_path / "calls"), 3)

    # Then
    assert handle.wait(10) == 3
    assert handle.attempts == 3
    assert [(a.number, a.state, a.error_message) for a in handle.failed_attempts] == [
        (1, State.RETRY, "ValueError: call 1"),
        (2, State.RETRY, "ValueError: call 2"),
    ]
    assert "fail_until" in handle.failed_attempts[0].traceback


def test_a_task_that_always_fails_ends_in_error_when_its_retries_are_used_up(worker, tmp_path):
    # When
    handle = tasks.fail_until(str(tmp_path / "calls"), 99)

    # Then
    with pytest.raises(TaskFailed, match="call 3"):
        handle.wait(10)
    assert (handle.status, handle.attempts, handle.error_message) == (ERROR, 3, "ValueError: call 3")
    assert handle.result is None


def test_the_error_of_the_last_attempt_is_shown_while_the_task_waits_for_the_next(worker, tmp_path, settings):
    # When
    handle = tasks.fail_until.using(retries=1)(str(tmp_path / "calls"), 9)
    slow = tasks.fail_with_value_error.using(retries=0)()

    # Then
    assert ended(slow) is ERROR
    assert ended(handle) is ERROR
    assert handle.error_message == "ValueError: call 2"


@pytest.mark.parametrize("task", [tasks.fail_with_value_error, tasks.fail_with_key_error], ids=lambda t: t.__name__)
def test_an_exception_that_is_not_to_be_retried_ends_the_task_at_once(worker, task):
    handle = task()
    assert ended(handle) is ERROR
    assert handle.attempts == 1


def test_a_backoff_function_that_returns_nonsense_ends_the_task_with_both_errors(worker):
    handle = tasks.fail_with_bad_backoff()
    assert ended(handle) is ERROR
    assert "its backoff function raised" in handle.failed_attempts[0].traceback


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("SystemExit", "SystemExit: 3"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit"),
        ("Unshowable", "Unshowable: (its text cannot be shown: __str__ raised RuntimeError)"),
        ("control", "ValueError: line one\nline two\x1b[31m\\0"),
    ],
)
def test_whatever_a_task_raises_is_recorded_and_the_worker_goes_on(worker, name, message):
    # When
    handle = tasks.raise_by_name(name)

    # Then
    assert ended(handle) is ERROR
    assert handle.error_message == message
    assert tasks.echo(1).wait(10) == 1


@pytest.mark.parametrize("name", ["Causeless", "Nameless", "Closed"])
def test_an_exception_that_cannot_be_described_ends_its_task_and_no_thread_of_the_worker(worker, name):
    # When: more often than there are threads
    handles = [tasks.raise_by_name(name) for _ in range(6)]

    # Then
    assert [ended(handle) for handle in handles] == [ERROR] * 6
    assert tasks.echo(1).wait(10) == 1


def test_a_receiver_that_exits_does_not_change_the_outcome(worker):
    # Given
    def leave(**_):
        raise SystemExit(3)

    task_ended.connect(leave)

    # When
    try:
        results = [function(1).wait(10) for function in (tasks.echo, tasks.double)]
    finally:
        task_ended.disconnect(leave)

    # Then
    assert results == [1, 2]


@pytest.mark.parametrize("function", [tasks.fork, tasks.fork_in_process, tasks.fork_in_coroutine])
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_process_that_a_task_has_forked_ends_where_it_leaves_the_function(worker, function):
    for how, status in (("return", 0), ("raise", 1), ("exit", 3)):
        handles = [function(how) for _ in range(3)]
        assert [handle.wait(20) for handle in handles] == [status] * 3


def test_a_recursion_without_end_is_recorded(worker):
    handle = tasks.recurse()
    assert ended(handle) is ERROR
    assert "RecursionError" in handle.error_message


def test_a_result_that_cannot_be_pickled_is_an_error_and_the_function_is_not_run_again(worker, tmp_path):
    # When
    handle = tasks.return_lambda(str(tmp_path / "calls"))

    # Then
    assert ended(handle) is ERROR
    assert "The result of tests.integration.worker.tasks.return_lambda cannot be pickled" in handle.error_message
    assert (tmp_path / "calls").read_text() == "x"


def test_a_result_that_is_too_large_is_an_error_that_names_the_limit(worker, settings):
    settings.AUTOTASK_MAX_PAYLOAD = 2048
    handle = tasks.return_bytes(5000)
    assert ended(handle) is ERROR
    assert "2048 bytes" in handle.error_message


def test_altered_arguments_are_never_unpickled(start_worker):
    # Given
    handle = tasks.echo("canary")
    execute(current(), "UPDATE autotask_task SET payload = overlay(payload placing 'X'::bytea from 60 for 1)")

    # When
    start_worker()

    # Then
    assert ended(handle) is ERROR
    assert "its signature does not match" in handle.error_message
    assert handle.attempts == 1


def test_arguments_cannot_be_moved_to_another_task(start_worker):
    # Given
    first, second = tasks.echo(1), tasks.echo(2)
    execute(
        current(),
        "UPDATE autotask_task SET payload = (SELECT payload FROM autotask_task WHERE id = %(second)s) WHERE id = %(first)s",
        {"first": first.id, "second": second.id},
    )

    # When
    start_worker()

    # Then
    assert ended(first) is ERROR
    assert second.wait(10) == 2


def test_arguments_whose_class_nobody_knows_are_left_for_a_newer_worker_and_fail_after_a_while(
    start_worker, monkeypatch, settings
):
    # Given
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 0
    handle = tasks.echo(tasks.Unshowable())
    monkeypatch.delattr(tasks, "Unshowable")

    # When
    start_worker()

    # Then
    assert ended(handle) is ERROR
    assert "AttributeError" in handle.error_message


def test_a_task_that_nobody_knows_is_left_for_a_newer_worker_and_fails_after_a_while(start_worker, settings):
    # Given
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 3600
    handle = tasks.echo(1)
    execute(current(), "UPDATE autotask_task SET name = 'shop.tasks.new'")
    start_worker()

    # When
    wait_until(lambda: _unknown_since(handle), what="the note that nobody knows it")

    # Then
    assert (handle.status, handle.attempts) == (WAITING, 0)

    # When
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 0

    # Then
    assert ended(handle) is ERROR
    assert "No task named 'shop.tasks.new' is known here" in handle.error_message


def test_a_payload_of_a_newer_version_is_left_for_a_newer_worker(start_worker):
    # Given
    handle = tasks.echo(1)
    execute(current(), "UPDATE autotask_task SET payload = set_byte(payload, 2, 9)")

    # When
    start_worker()

    # Then
    wait_until(lambda: _unknown_since(handle), what="the note that nobody can read it")
    assert handle.status is WAITING


@pytest.mark.parametrize("task", [tasks.echo, stubborn.quick_coroutine, stubborn.quick_in_process])
def test_a_call_that_the_function_does_not_take_is_left_for_a_newer_worker(start_worker, task):
    # Given: what only newer code can have called
    handle = enqueue_as_newer_code(task, {"value": 1, "newer": True})
    start_worker()

    # When
    wait_until(lambda: _unknown_since(handle), what="the note that nobody can run it")

    # Then: others of its name are run, also while it is ready and left alone
    wait_until(lambda: state_of(handle) is State.READY, what="the time when others may take it")
    assert task(2).wait(10) == 2
    assert (handle.status, handle.attempts, handle.failed_attempts) == (WAITING, 0, [])

    # When nobody has known it for too long
    execute(current(), "UPDATE autotask_task SET unknown_since = unknown_since - interval '1 hour'")

    # Then
    assert ended(handle) is ERROR
    assert "unexpected keyword argument 'newer'" in handle.error_message


def test_a_type_error_of_the_function_itself_is_an_error_like_others(worker):
    handle = tasks.echo_length(1)
    assert ended(handle) is ERROR
    assert "has no len()" in handle.error_message


def enqueue_as_newer_code(task, kwargs):
    new = task.new_call((0,), {})
    signed = payload.dump_arguments((), kwargs, id=new.id, name=task.name)
    enqueue.insert(current(), new._replace(payload=signed))
    return TaskHandle(new.id)


def state_of(handle):
    return read.task(current(), handle.id).state


def _unknown_since(handle):
    with current().cursor() as cursor:
        cursor.execute("SELECT unknown_since FROM autotask_live WHERE id = %s", [handle.id])
        return (cursor.fetchone() or [None])[0]


def test_tasks_signed_with_a_former_key_still_run(start_worker, settings):
    # Given
    settings.SECRET_KEY = "first"
    handle = tasks.echo("old")

    # When
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second", ["first"]
    start_worker()

    # Then
    assert handle.wait(10) == "old"


def test_only_if_a_task_is_due_does_an_idle_worker_send_a_statement_for_it(worker, monkeypatch):
    # Given a task for later, and a worker that has nothing to do
    handle = tasks.echo.using(delay=60)(1)
    looks, promotions, find = [], [], worker.claimer.claims.find_lanes
    make_ready = promote.promote
    monkeypatch.setattr(worker.claimer.claims, "find_lanes", lambda *args: looks.append(1) or find(*args))
    monkeypatch.setattr(promote, "promote", lambda *args, **kw: promotions.append(1) or make_ready(*args, **kw))

    # When
    wait_until(lambda: len(looks) >= 3, what="looks for work")
    assert promotions == []
    execute(current(), "UPDATE autotask_task SET run_at = clock_timestamp()")

    # Then
    assert ended(handle) is DONE
    assert promotions


def test_a_delayed_task_does_not_run_before_its_time(worker):
    # When
    began = time.monotonic()
    handle = tasks.on_rare_queue.using(delay=0.5)()

    # Then
    assert handle.status is WAITING
    assert handle.wait(10) - began >= 0.5


def test_run_after_is_a_moment(worker):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.4)
    began = time.monotonic()
    assert tasks.on_rare_queue.using(run_after=moment)().wait(10) - began >= 0.3


def test_larger_priorities_run_first(start_worker, tmp_path):
    # Given
    path = tmp_path / "order"
    for priority in (0, -100, 100, 5):
        tasks.write.using(priority=priority)(str(path), str(priority))

    # When
    start_worker(threads=1)

    # Then
    wait_until(lambda: path.exists() and path.read_text().count("\n") == 4)
    assert path.read_text().split() == ["100", "5", "0", "-100"]


def test_a_worker_serves_only_its_queues(start_worker):
    # Given
    mine, other = tasks.echo.using(queue="mine")(1), tasks.echo.using(queue="other")(2)

    # When
    start_worker(queues=("mine",))

    # Then
    assert mine.wait(10) == 1
    assert other.status is WAITING

    # When
    start_worker(exclude_queues=("mine",))

    # Then
    assert other.wait(10) == 2


def test_a_flooded_queue_does_not_hold_up_another(start_worker):
    # Given
    tasks.echo.using(queue="flood").enqueue_many([(i,) for i in range(2000)])
    lone = tasks.echo.using(queue="lone")("here")

    # When
    start_worker(threads=2)

    # Then
    assert lone.wait(10) == "here"
    ended = tally.ended_lately(current(), 3600).get(State.DONE, 0)
    assert ended < 1500, "the lone task had to wait for most of the flood"


def test_a_transaction_that_a_task_left_open_does_not_reach_the_next(start_worker):
    start_worker(threads=1)
    assert ended(tasks.leave_transaction_open()) is ERROR
    assert tasks.query().wait(10) == (1, False)


def test_a_connection_that_a_task_broke_does_not_reach_the_next(start_worker):
    start_worker(threads=1)
    assert ended(tasks.close_raw_connection()) is DONE
    assert tasks.query().wait(10) == (1, False)


def test_each_task_is_run_once_by_two_workers(start_worker, tmp_path):
    # Given
    path = tmp_path / "ledger"
    start_worker()
    start_worker()

    # When
    handles = tasks.write.enqueue_many([(str(path), str(i)) for i in range(300)])

    # Then
    for handle in handles:
        handle.wait(20)
    assert sorted(map(int, path.read_text().split())) == list(range(300))


def test_wait_works_in_a_coroutine(worker):
    async def there_and_back():
        handle = await tasks.echo.aenqueue("async")
        try:
            return await handle.await_result(timeout=10)
        finally:
            # As Django does at the end of a request, in the thread that enqueued.
            await sync_to_async(connections.close_all)()

    assert asyncio.run(there_and_back()) == "async"


def test_a_task_can_be_retried_by_hand_with_its_retries_counted_again(worker, tmp_path):
    # Given
    handle = tasks.fail_until.using(retries=0)(str(tmp_path / "calls"), 2)
    assert ended(handle) is ERROR

    # When
    handle.retry()

    # Then
    assert handle.wait(10) == 2
    assert handle.attempts == 2


def test_a_waiting_task_is_cancelled_at_once():
    handle = tasks.echo.using(delay=60)(1)
    assert handle.cancel() is True
    assert (handle.status, handle.ready, handle.result) == (CANCELLED, True, None)
    assert handle.cancel() is False


def test_a_running_task_that_was_cancelled_is_not_tried_again(worker):
    # Given
    handle = tasks.fail_behind_gate.using(retries=3)("cancelled")
    tasks.gate("cancelled reached").wait(10)

    # When
    assert handle.cancel() is True
    wait_until(lambda: handle.id in worker.held.cancelled, what="the worker's knowledge of the request")
    tasks.gate("cancelled").set()

    # Then
    assert ended(handle) is CANCELLED
    assert handle.attempts == 1


def test_a_result_is_signed_and_an_altered_one_is_refused(worker):
    # Given
    handle = tasks.echo("x" * 50)
    assert ended(handle) is DONE

    # When
    execute(current(), "UPDATE autotask_result SET value = overlay(value placing 'Y'::bytea from 70 for 1)")
    handle.refresh()

    # Then
    with pytest.raises(PayloadRefused):
        _ = handle.result


def test_without_autotask_a_call_runs_at_once_and_returns_the_value(settings, db):
    settings.AUTOTASK_IS_ACTIVE = False
    assert tasks.echo(3) == 3


@pytest.mark.schedules("tests.ticking")
def test_a_periodic_task_runs_once_for_each_tick_with_two_workers(start_worker, tmp_path, monkeypatch):
    # Given
    path = Path(tmp_path / "ticks")
    monkeypatch.setenv("AUTOTASK_TEST_TICKS", str(path))

    # When
    start_worker()
    start_worker()
    wait_until(lambda: path.exists() and len(path.read_text().split()) >= 5, what="five ticks")

    # Then
    with current().cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT scheduled_for) FROM autotask_record WHERE schedule = 'tests.ticking'"
        )
        total, ticks = cursor.fetchone()
    assert total == ticks


def test_tasks_that_turn_out_long_do_not_wait_behind_each_other_though_some_end(start_worker):
    # Given: a worker that runs short tasks, and then holds as many long ones
    worker = start_worker(threads=1)
    pool = worker.claimer.threads.pool
    ended(tasks.echo.enqueue_many([(number,) for number in range(1000)])[-1])
    naps = tasks.nap.enqueue_many([(0.4,)] * 300)
    wait_until(lambda: pool.outstanding() > 50, what="a large claim")

    # Then: it gives them back, for others to run
    wait_until(lambda: pool.outstanding() <= 2, what="the release of those that wait")
    wait_until(lambda: naps[-1].status is WAITING, what="the record of it")


def test_loggers_by_the_ids_of_tasks_are_forgotten(worker, monkeypatch):
    # Given
    known, spare = logging.Logger.manager.loggerDict, 10
    monkeypatch.setattr(spare_loggers, "SPARE", spare)
    monkeypatch.setattr(spare_loggers, "_most", len(known) + spare)
    before = set(known)

    # When
    handles = tasks.log_by_id.enqueue_many([()] * 5 * spare)
    wait_until(lambda: all(handle.ready for handle in handles), what="their end")

    # Then
    names = {f"autotask.task.{handle.id}" for handle in handles}
    assert len(names & (set(known) - before)) <= 3 * spare
