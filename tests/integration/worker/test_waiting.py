"""Handles: what they say at each moment, and how they wait."""

import asyncio
import base64
import threading
import time
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from autotask import handle as handle_module, listener
from autotask.exceptions import (
    NotRetryable,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    WaitInTransaction,
    WaitTimeout,
)
from autotask.handle import TaskHandle
from autotask.store import notify, read, told
from autotask.store.connection import Dedicated, current, execute, rows
from autotask.store.told import ToldTask
from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING
from tests.helpers import patient, wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def in_a_thread(function):
    """Start a function in a thread; call what is returned to get its result."""
    results = []

    def run():
        try:
            results.append(function())
        except Exception as error:
            results.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(patient(20))
        assert results, "it has not finished"
        return results[0]

    return result


def forget(handle):
    """Remove all that is known of a task, as pruning does."""
    execute(current(), "DELETE FROM autotask_result WHERE id = %(id)s", {"id": handle.id})
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": handle.id})


# --- what a handle says ---------------------------------------------------------------------------------------------


def test_a_handle_follows_its_task(start_worker):
    handle = tasks.pass_gate("follow")
    assert (handle.status, handle.ready, handle.result, handle.attempts) == (WAITING, False, None, 0)
    start_worker()
    assert tasks.gate("follow reached").wait(10)
    assert (handle.status, handle.ready, handle.result, handle.attempts) == (RUNNING, False, None, 1)
    tasks.gate("follow").set()
    assert handle.wait(10) == "follow"
    assert (handle.status, handle.ready, handle.result, handle.error_message) == (DONE, True, "follow", "")


def test_a_finished_task_is_read_once(worker, django_assert_num_queries):
    handle = tasks.echo(5)
    handle.wait(10)
    with django_assert_num_queries(0):
        assert (handle.status, handle.ready, handle.result, handle.error_message) == (DONE, True, 5, "")
        assert handle.wait(10) == 5


@pytest.mark.parametrize("ask", ["status", "ready", "result", "error_message", "attempts", "wait"])
def test_a_handle_whose_task_is_gone_says_so_and_gives_no_wrong_answer(ask):
    handle = tasks.echo(5)
    forget(handle)
    with pytest.raises(TaskExpired, match=rf"Task {handle.id} \(.*echo\) is not in the database"):
        answer = getattr(handle, ask)
        answer(timeout=5)


def test_a_result_that_was_read_outlives_its_row_until_it_is_read_again(worker):
    handle = tasks.echo(5)
    handle.wait(10)
    forget(handle)
    assert handle.result == 5
    with pytest.raises(TaskExpired):
        handle.refresh()
    with pytest.raises(TaskExpired):
        _ = handle.result


def test_a_handle_can_be_made_of_an_id(worker):
    again = TaskHandle(tasks.echo(5).id)
    assert again.wait(10) == 5


def test_handles_of_the_same_task_are_equal():
    handle = tasks.echo(5)
    assert handle == TaskHandle(handle.id)
    assert len({handle, TaskHandle(handle.id)}) == 1
    assert handle != TaskHandle(uuid.uuid4())
    assert handle != handle.id


# --- waiting --------------------------------------------------------------------------------------------------------


def test_waiting_is_ended_by_the_end_of_the_task_and_not_by_the_next_look(worker, monkeypatch):
    # Given
    monkeypatch.setattr(handle_module, "_FIRST_LOOK", 60.0)
    monkeypatch.setattr(handle_module, "_LONGEST_LOOK", 60.0)
    handle = tasks.pass_gate("soon")
    assert tasks.gate("soon reached").wait(10)
    ended = in_a_thread(lambda: (handle.wait(60), time.monotonic()))
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE awaited"))

    # When
    opened = time.monotonic()
    tasks.gate("soon").set()

    # Then
    value, moment = ended()
    assert value == "soon"
    assert moment - opened < 20


def test_waiting_without_end_ends_with_the_task(worker):
    assert tasks.echo(5).wait() == 5


def test_waiting_too_short_says_how_the_task_stands():
    handle = tasks.echo(5)
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match="had not ended after 0.2 seconds; it is waiting") as caught:
        handle.wait(timeout=0.2)
    assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("timeout", [0, -1, 1e-9])
def test_a_wait_of_no_time_is_one_look(worker, timeout):
    handle = tasks.echo.using(delay=60)(5)
    with pytest.raises(WaitTimeout):
        handle.wait(timeout=timeout)
    other = tasks.echo(6)
    wait_until(lambda: TaskHandle(other.id).ready)
    assert other.wait(timeout=timeout) == 6


def test_waiting_in_a_transaction_is_refused_because_it_could_never_end(worker):
    with transaction.atomic():
        handle = tasks.echo(5)
        with pytest.raises(WaitInTransaction, match=r"wait\(\) after the atomic block"):
            handle.wait(timeout=10)
    assert handle.wait(10) == 5


def test_waiting_where_a_program_commits_by_hand_is_refused():
    handle = tasks.echo(5)
    connection = current()
    connection.set_autocommit(False)
    try:
        with pytest.raises(WaitInTransaction):
            handle.wait(timeout=10)
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_waiting_for_a_task_that_fails_raises_with_its_message(worker):
    handle = tasks.raise_by_name("SystemExit")
    with pytest.raises(TaskFailed, match=rf"Task {handle.id} \(.*raise_by_name\) ended in an error: SystemExit: 3"):
        handle.wait(10)
    assert (handle.status, handle.result) == (ERROR, None)


def test_waiting_for_a_cancelled_task_raises():
    # Given
    handle = tasks.echo.using(delay=60)(5)
    waiting = in_a_thread(lambda: handle.wait(15))
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE awaited"))

    # When
    TaskHandle(handle.id).cancel()

    # Then
    assert isinstance(waiting(), TaskCancelled)


def test_waiting_for_a_task_that_is_deleted_meanwhile_raises():
    handle = tasks.echo.using(delay=60)(5)
    waiting = in_a_thread(lambda: handle.wait(15))
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE awaited"))
    forget(handle)
    assert isinstance(waiting(), TaskExpired)


def when_awaited(handle, act):
    """Do something as soon as a caller has asked to be notified of the end of a task."""

    def wait_and_act():
        awaited = "SELECT awaited FROM autotask_live WHERE id = %(id)s"
        wait_until(lambda: rows(current(), awaited, {"id": handle.id}) == [(True,)], what="somebody who waits")
        return act()

    return in_a_thread(wait_and_act)


def test_the_result_comes_with_the_word_of_the_end_and_is_not_asked_for(worker, django_assert_num_queries):
    def told(number):
        handle = tasks.pass_gate(f"told {number}")
        opened = when_awaited(handle, tasks.gate(f"told {number}").set)
        assert handle.wait(10) == f"told {number}"
        opened()
        with django_assert_num_queries(0):
            assert (handle.status, handle.ready, handle.result, handle.attempts) == (DONE, True, f"told {number}", 1)
        return isinstance(handle._snapshot.kept, ToldTask)

    # It looks by itself as well, and may be quicker.
    assert any(told(number) for number in range(10))


def test_a_coroutine_receives_the_result_too(worker):
    def told(number):
        handle = tasks.pass_gate(f"told too {number}")
        opened = when_awaited(handle, tasks.gate(f"told too {number}").set)
        assert asyncio.run(handle.await_result(10)) == f"told too {number}"
        opened()
        return isinstance(handle._snapshot.kept, ToldTask)

    # It looks by itself as well, and may be quicker.
    assert any(told(number) for number in range(10))


def test_a_coroutine_whose_request_to_be_notified_met_a_lock_asks_again(worker, monkeypatch):
    # Given
    asked = []

    def listen_only(connection, id, *, wait=True):
        return notify.ChannelListener(connection, notify.ended_channel(id)), False

    def refuse_at_first(connection, id, *, wait=True):
        asked.append(id)
        return len(asked) > 1 and real(connection, id, wait=wait)

    real = listener.read.ask_to_be_told
    monkeypatch.setattr(listener.read, "listen", listen_only)
    monkeypatch.setattr(listener.read, "ask_to_be_told", refuse_at_first)
    handle = tasks.pass_gate("asked again")

    # Then
    opened = when_awaited(handle, tasks.gate("asked again").set)
    assert asyncio.run(handle.await_result(10)) == "asked again"
    opened()
    assert len(asked) >= 2


def test_a_result_too_large_for_a_notification_is_read(worker):
    text = "x" * 20_000
    assert tasks.echo(text).wait(10) == text


@pytest.mark.parametrize("words", ["", "done", "1 1 - - gASVBQAAAAAAAACMAWGULg==", "x y z - gASV", "1 1 - - ===="])
def test_word_of_an_end_is_not_believed_unless_it_is_signed(worker, words):
    # Given
    handle = tasks.pass_gate(f"forged {words}")

    # When: somebody says that it has ended, and only then it does
    def forge():
        channel = notify.ended_channel(handle.id)
        for _ in range(3):
            execute(current(), "SELECT pg_notify(%(channel)s, %(words)s)", {"channel": channel, "words": words})
        tasks.gate(f"forged {words}").set()

    forged = when_awaited(handle, forge)

    # Then
    assert handle.wait(10) == f"forged {words}"
    forged()


def test_a_signed_result_of_another_task_is_not_believed(worker):
    # Given
    other = tasks.echo("another")
    other.wait(10)
    other.refresh()
    stored = read.task(current(), other.id)
    handle = tasks.pass_gate("not another")

    # When
    def forge():
        value = base64.b64encode(stored.value).decode()
        words = f"{stored.fence} 1 - - {value}"
        channel = notify.ended_channel(handle.id)
        execute(current(), "SELECT pg_notify(%(channel)s, %(words)s)", {"channel": channel, "words": words})
        tasks.gate("not another").set()

    forged = when_awaited(handle, forge)

    # Then
    assert handle.wait(10) == "not another"
    forged()


def test_many_coroutines_that_wait_for_one_task_ask_a_few_times_and_not_each_for_itself(worker, monkeypatch):
    # Given
    asked = []
    real = listener.read.ask_to_be_told
    monkeypatch.setattr(
        listener.read, "ask_to_be_told", lambda *args, **options: asked.append(args[1]) or real(*args, **options)
    )
    handle = tasks.pass_gate("for many")
    opened = when_awaited(handle, tasks.gate("for many").set)

    # When
    async def many():
        return await asyncio.gather(*(TaskHandle(handle.id).await_result(15) for _ in range(50)))

    # Then
    assert asyncio.run(many()) == ["for many"] * 50
    assert len(asked) < 20
    opened()


def test_many_can_wait_for_one_task(start_worker):
    handle = tasks.echo(5)
    waiting = [in_a_thread(lambda: TaskHandle(handle.id).wait(15)) for _ in range(5)]
    start_worker()
    assert [each() for each in waiting] == [5] * 5


def test_waiting_leaves_no_notifications_on_the_caller_s_connection(worker):
    tasks.echo(5).wait(10)
    with pytest.raises(WaitTimeout):
        tasks.echo.using(delay=60)(5).wait(0.05)
    assert rows(current(), "SELECT pg_listening_channels()") == []


def test_waiting_through_a_connection_without_notifications_ends_too(worker, monkeypatch):
    # As through a pooler that shares its connections between transactions
    monkeypatch.setattr(notify, "ended_channel", lambda id: "autotask_nobody_is_told_here")
    assert tasks.echo(5).wait(10) == 5


def test_a_wait_whose_connection_is_lost_raises_as_django_does_and_the_next_one_works(worker):
    # Given
    handle = tasks.pass_gate("lost")

    def first_and_second():
        try:
            handle.wait(15)
        except Exception as error:
            connections.close_all()
            return type(error).__module__, handle.wait(15)
        return "not raised"

    waiting = in_a_thread(first_and_second)
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE awaited"))

    # When
    execute(
        current(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name NOT LIKE 'autotask %%'",
        {},
    )
    tasks.gate("lost").set()

    # Then
    assert waiting() == ("django.db.utils", "lost")


# --- coroutines -----------------------------------------------------------------------------------------------------


async def with_own_connections(coroutine):
    """Run a coroutine, and close what its thread has opened, as Django does at the end of a request."""
    try:
        return await coroutine
    finally:
        await sync_to_async(connections.close_all)()


def test_waiting_in_coroutines_does_not_hold_up_the_others(start_worker):
    async def several():
        handles = [await tasks.double.aenqueue(n) for n in range(4)]
        start_worker()
        return await asyncio.gather(*[handle.await_result(15) for handle in handles])

    assert asyncio.run(with_own_connections(several())) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("how", "error"), [("fail", TaskFailed), ("cancel", TaskCancelled), ("delay", WaitTimeout), ("gone", TaskExpired)]
)
def test_waiting_in_a_coroutine_raises_as_waiting_does(worker, how, error):
    # Given
    handle = tasks.raise_by_name("SystemExit") if how == "fail" else tasks.echo.using(delay=60)(5)
    if how == "cancel":
        handle.cancel()
    if how == "gone":
        forget(handle)

    # When, then
    with pytest.raises(error):
        asyncio.run(with_own_connections(handle.await_result(timeout=0.2 if how == "delay" else 15)))


def listening():
    """Return the pids of the connections by which coroutines wait."""
    return [
        pid
        for (pid,) in rows(
            current(),
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'autotask listener'",
        )
    ]


def test_all_coroutines_wait_by_one_connection_that_is_closed_soon_after(worker):
    # Given
    async def all_of_them():
        return await asyncio.gather(*[handle.await_result(30) for handle in handles])

    handles = [tasks.pass_gate(f"crowd {number}") for number in range(40)]
    waiting = in_a_thread(lambda: asyncio.run(all_of_them()))
    wait_until(lambda: rows(current(), "SELECT count(*) FROM autotask_live WHERE awaited") == [(40,)])

    # Then
    assert len(listening()) == 1

    # When
    for number in range(40):
        tasks.gate(f"crowd {number}").set()

    # Then
    assert waiting() == [f"crowd {number}" for number in range(40)]
    wait_until(lambda: not listening(), what="the end of the connection")


def test_a_coroutine_whose_connection_is_lost_raises_as_django_does_and_the_next_one_waits(worker):
    # Given
    handle = tasks.pass_gate("lost async")
    waiting = in_a_thread(lambda: asyncio.run(handle.await_result(15)))
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE awaited"))

    # When
    (pid,) = listening()
    rows(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})

    # Then
    assert type(waiting()).__module__ == "django.db.utils"
    tasks.gate("lost async").set()
    assert asyncio.run(handle.await_result(15)) == "lost async"


def test_a_coroutine_does_not_wait_for_the_row_of_another_one_that_is_locked(worker, other_connection):
    # Given
    locked, other = tasks.echo.using(delay=600)(1), tasks.pass_gate("beside a lock")
    other_connection.set_autocommit(False)
    execute(other_connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s FOR UPDATE", {"id": locked.id})

    # When
    async def both():
        first = asyncio.create_task(locked.await_result(60))
        await asyncio.sleep(0)
        second = asyncio.create_task(other.await_result(60))
        wait = asyncio.to_thread(wait_until, is_awaited)
        await with_own_connections(wait)
        tasks.gate("beside a lock").set()
        value = await asyncio.wait_for(second, 10)
        assert not first.done()
        first.cancel()
        return value

    def is_awaited():
        try:
            return rows(current(), "SELECT 1 FROM autotask_live WHERE awaited AND id = %(id)s", {"id": other.id})
        finally:
            connections.close_all()

    # Then
    assert in_a_thread(lambda: asyncio.run(both()))() == "beside a lock"
    other_connection.rollback()
    other_connection.set_autocommit(True)


def test_a_coroutine_notices_the_end_while_others_come_again_and_again(start_worker, monkeypatch):
    """Behind a pooler, without notifications: no sleep between two looks lasts to its end."""
    # Given
    monkeypatch.setattr(Dedicated, "hears", lambda self: False)
    start_worker()
    later = tasks.echo.using(delay=600)(1)
    handle = tasks.nap(0.5)

    # When
    async def amid_others():
        waiting = asyncio.create_task(handle.await_result(60))
        others = []
        while not waiting.done() and len(others) < 600:
            others.append(asyncio.create_task(later.await_result(60)))
            await asyncio.sleep(0.03)
        for other in others:
            other.cancel()
        return waiting.done()

    # Then
    assert in_a_thread(lambda: asyncio.run(amid_others()))() is True


@pytest.fixture
def impatient_database(transactional_db):
    """A database that ends a session after a second in which nothing was asked; less may pass between two statements."""
    name = current().settings_dict["NAME"]
    execute(current(), f"ALTER DATABASE {name} SET idle_session_timeout = '1s'")
    yield
    execute(current(), f"ALTER DATABASE {name} RESET idle_session_timeout")


def test_waiting_outlasts_the_time_that_a_session_may_be_idle(start_worker, impatient_database):
    # Given
    start_worker()
    handle, other = tasks.nap(2.5), tasks.nap(2.5)
    waiting = in_a_thread(lambda: handle.wait(20))

    # When
    def await_result():
        return asyncio.run(with_own_connections(other.await_result(20)))

    awaiting = in_a_thread(await_result)

    # Then
    assert (waiting(), awaiting()) == (None, None)
    assert (handle.ready, other.ready) == (True, True)


def test_a_coroutine_learns_that_nobody_can_listen_and_the_next_one_finds_somebody(worker, monkeypatch):
    # Given
    def no_memory(role):
        raise MemoryError(role)

    monkeypatch.setattr(listener, "_listener", listener.Listener())
    handle = tasks.pass_gate("nobody listens")

    # When
    with monkeypatch.context() as patched:
        patched.setattr(listener, "dedicated", no_memory)
        with pytest.raises(MemoryError):
            asyncio.run(with_own_connections(handle.await_result(10)))

    # Then
    tasks.gate("nobody listens").set()
    assert asyncio.run(with_own_connections(handle.await_result(10))) == "nobody listens"


def test_a_coroutine_that_waits_no_more_is_forgotten(worker):
    # Given
    handle = tasks.pass_gate("given up")

    # When
    with pytest.raises(WaitTimeout):
        asyncio.run(with_own_connections(handle.await_result(timeout=0.3)))

    # Then
    wait_until(lambda: not listening(), what="the end of the connection")
    tasks.gate("given up").set()
    assert handle.wait(15) == "given up"


# --- again ----------------------------------------------------------------------------------------------------------


def test_a_task_that_is_live_succeeded_or_is_gone_cannot_be_retried(worker):
    waiting = tasks.echo.using(delay=60)(5)
    with pytest.raises(NotRetryable, match=f"Task {waiting.id} cannot be retried: it is waiting"):
        waiting.retry()
    done = tasks.echo(5)
    done.wait(10)
    with pytest.raises(NotRetryable, match="it is done"):
        done.retry()
    assert done.result == 5
    forget(done)
    with pytest.raises(NotRetryable, match="it is not in the database"):
        done.retry()


def test_a_cancelled_task_can_be_retried_and_waited_for(worker):
    handle = tasks.echo.using(delay=60)(5)
    handle.cancel()
    assert handle.status is CANCELLED
    handle.retry()
    assert handle.wait(10) == 5


def listened(caller, act):
    """Return what an act returns, and whether this thread listened meanwhile."""
    statements = []

    def note(execute, sql, params, many, context):
        statements.append(sql)
        return execute(sql, params, many, context)

    with caller.execute_wrapper(note):
        found = act()
    return found, any("LISTEN" in sql for sql in statements)


@pytest.fixture
def looks_long(monkeypatch):
    """Let looks for the end of a new task go on for so long that they find it, however busy this machine is."""
    monkeypatch.setattr(told, "SOON", (0.01,) * 1000)
    monkeypatch.setattr(told, "LATELY", 60_000)
    monkeypatch.setattr(told, "_longer", {})


@pytest.mark.parametrize("value", ["a value", None, "x" * 2 * told.LARGEST])
def test_who_waits_for_a_short_task_that_was_just_called_does_not_listen(start_worker, looks_long, value):
    # Given
    start_worker()

    # When, then
    assert listened(current(), lambda: tasks.echo(value).wait(10)) == (value, False)


def test_the_error_of_a_short_task_that_was_just_called_is_raised(start_worker, looks_long):
    # Given
    start_worker()

    # When, then
    with pytest.raises(TaskFailed, match="KeyError"):
        tasks.fail_with_key_error().wait(10)


def test_who_waits_for_a_task_that_was_called_a_while_ago_listens_at_once(start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(told, "SOON", (60.0,))
    monkeypatch.setattr(told, "LATELY", -1)
    handle = tasks.echo(1)
    start_worker()

    # When, then
    assert listened(current(), lambda: handle.wait(10)) == (1, True)


def test_a_task_that_is_retried_just_after_it_was_seen_to_have_ended_is_waited_for(monkeypatch):
    # Given
    handle = tasks.echo.using(delay=60)(5)

    def see_the_end(connection, id, name, deadline):
        TaskHandle(id).cancel()
        words = told.words_of_end(connection, id)
        TaskHandle(id).retry()
        return words

    monkeypatch.setattr(handle_module, "soon", see_the_end)

    # When, then: nobody runs it
    with pytest.raises(WaitTimeout):
        handle.wait(0.2)


def test_a_short_timeout_ends_before_the_next_look(monkeypatch):
    # Given
    monkeypatch.setattr(told, "SOON", (60.0,))
    monkeypatch.setattr(told, "LATELY", 60_000)
    monkeypatch.setattr(told, "_longer", {})

    # When, then
    with pytest.raises(WaitTimeout):
        tasks.echo(1).wait(0.2)


def test_who_waits_for_a_task_that_took_longer_the_last_times_listens_at_once(start_worker, looks_long, monkeypatch):
    # Given
    monkeypatch.setattr(told, "IN_A_ROW", 1)
    monkeypatch.setattr(told, "SELDOM", 3)
    start_worker()
    with pytest.raises(WaitTimeout):
        tasks.pass_gate("long").wait(0.1)
    tasks.gate("long").set()

    # When, then: the third one shows that it is short now
    found = [listened(current(), lambda: tasks.pass_gate("long").wait(10)) for _ in range(5)]
    assert [has_listened for _, has_listened in found] == [True, True, False, False, False]
