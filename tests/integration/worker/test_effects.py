"""The effects of a finished task are there, and no other task is disturbed by unfinished ones."""

import threading

import pytest
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store.connection import current, execute, rows
from autotask.task import DONE, ERROR
from tests import gates
from tests.helpers import ended, environment, wait_until
from tests.integration.worker import unfinished
from tests.integration.worker.surroundings import BRANCH

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def effects(transactional_db):
    """A table for the effects of tasks; returns what is in it."""
    execute(current(), "CREATE TABLE effect (text text)")
    yield lambda: [text for (text,) in rows(current(), "SELECT text FROM effect ORDER BY text")]
    execute(current(), "DROP TABLE effect")


SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND application_name NOT LIKE 'autotask %%'
"""


def sessions():
    """Return the processes of the database that serve tasks."""
    return {pid for (pid,) in rows(current(), SESSIONS)}


@pytest.fixture(autouse=True)
def no_session_stays(effects):
    """Nobody goes on to use the database when all tasks have ended."""
    before = sessions()
    yield
    wait_until(lambda: sessions() <= before, what="the end of the connections of tasks")


@pytest.fixture(params=unfinished.ALL.items(), ids=lambda item: item[0])
def there(request, settings, monkeypatch):
    """The tasks that run in one of the pools."""
    monkeypatch.setenv("DATABASE_URL", environment()["DATABASE_URL"])  # for the children
    settings.AUTOTASK_EXECUTORS = {"unfinished": ("tests.integration.worker.unfinished.one_thread", 1)}
    yield request.param[1]
    unfinished.kept.clear()


def test_a_task_that_leaves_something_unfinished_is_not_done_and_the_next_one_is(there, start_worker, effects):
    # Given: one thread, one child, one event loop
    start_worker(threads=1, processes=1)
    ways = [way for way in unfinished.WAYS if is_psycopg3 or way not in unfinished.ONLY_PSYCOPG_3]

    for way in ways:
        # When
        handle = there.leave(way)
        assert ended(handle) is ERROR, way
        innocent = there.write(f"after {way}")

        # Then
        assert "left a transaction or a statement unfinished on the database 'default'" in handle.error_message
        assert handle.attempts == 2  # It may do better another time, as after any exception.
        assert innocent.wait(20) == f"after {way}"
    assert effects() == sorted(f"after {way}" for way in ways)


@pytest.fixture
def gate():
    """Return an event that a task waits for, or sets."""
    return gates.gate


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", ""])
def test_a_transaction_in_which_a_coroutine_waits_is_its_own(start_worker, effects, gate, end):
    # Given
    start_worker()
    names = ["a", "b"]
    for name in names:
        gate(name), gate(name + " begun")
    handles = [unfinished.begin_and_wait(name, end) for name in names]
    for name in names:
        assert gate(name + " begun").wait(10)

    # When: others run meanwhile
    others = [unfinished.ALL["coroutine"].write(f"other {number}") for number in range(5)]
    assert {ended(other) for other in others} == {DONE}
    seen = effects()
    for name in names:
        gate(name).set()

    # Then
    assert seen == [f"other {number}" for number in range(5)]
    assert {ended(handle) for handle in handles} == {DONE if end else ERROR}
    committed = ["a", "a again", "b", "b again"] if end == "COMMIT" else []
    assert effects() == committed + seen


def test_a_call_that_outlives_its_coroutine_keeps_neither_thread_nor_transaction(start_worker, effects, gate, caplog):
    # Given
    start_worker(threads=1)
    begun, go_on = gate("cut off begun"), gate("cut off")
    assert ended(unfinished.ALL["coroutine"].write("before")) is DONE

    # When: its time is up while it is in the middle of that call
    handle = unfinished.begin_and_be_cut_off("cut off")
    assert begun.wait(10)
    assert ended(handle) is ERROR
    go_on.set()

    # Then
    wait_until(lambda: "left an open transaction on the database 'default', which is lost" in caplog.text)
    assert ended(unfinished.ALL["coroutine"].write("after")) is DONE
    assert effects() == ["after", "before"]
    assert [thread.name for thread in threading.enumerate()].count("autotask-sync") == 1


def test_a_coroutine_with_a_thread_of_its_own_is_cut_off_and_watched_like_others(start_worker, effects, gate, settings):
    # Given: a carrier that needs a thread
    settings.AUTOTASK_CONTEXT = [BRANCH]
    start_worker(threads=1)
    begun, go_on = gate("cut off begun"), gate("cut off")

    # When
    handle = unfinished.begin_and_be_cut_off("cut off")
    assert begun.wait(10)

    # Then: nobody waits for the call
    assert ended(handle, 5) is ERROR
    assert handle.error_message == "timed out after 0.3 s"
    go_on.set()
    wait_until(lambda: "autotask-sync-own" not in [thread.name for thread in threading.enumerate()])

    # Then: an open transaction is noticed there, too
    handle = unfinished.ALL["coroutine"].leave("begin")
    assert ended(handle) is ERROR
    assert "unfinished on the database 'default'" in handle.error_message
    assert ended(unfinished.ALL["coroutine"].write("after")) is DONE
    assert effects() == ["after"]


@pytest.mark.parametrize("task", [unfinished.begin_behind, unfinished.write_behind], ids=["shared", "beside"])
def test_code_that_outlives_its_coroutine_can_use_the_database(start_worker, effects, gate, task):
    # Given
    start_worker(threads=1)
    before = sessions()
    go_on = gate("behind")
    assert ended(task("behind")) is DONE

    # When
    go_on.set()
    wait_until(effects, what="the effect")
    assert ended(unfinished.ALL["coroutine"].write("next")) is DONE

    # Then
    assert effects() == ["behind", "next"]
    wait_until(lambda: sessions() <= before, 10, what="the end of its connections")


def test_a_transaction_left_open_in_another_thread_is_an_error_too(start_worker, effects):
    start_worker(threads=1)
    for task in (
        unfinished.begin_beside,
        unfinished.begin_under_a_loop,
        unfinished.begin_in_a_thread_under_a_loop,
    ):
        handle = task("lost")
        assert ended(handle) is ERROR, task
        assert "unfinished on the database 'default'" in handle.error_message
        assert ended(unfinished.write_beside("kept")) is DONE
    assert effects() == ["kept"] * 3


@pytest.mark.parametrize("where", unfinished.OTHER_THREADS)
def test_connections_in_threads_that_outlive_a_task_end_with_it(start_worker, effects, monkeypatch, where):
    # Given
    monkeypatch.setenv("DATABASE_URL", environment()["DATABASE_URL"])  # for the children
    before = sessions()
    start_worker(threads=1, processes=1)

    for task in unfinished.OTHER_THREADS[where]:
        # When
        assert ended(task("x")) is DONE, task

        # Then
        wait_until(lambda: sessions() <= before, 5, f"the end of the connections of {task}")
    assert effects() == ["x"] * 3 * len(unfinished.OTHER_THREADS[where])


def test_connections_of_what_is_done_on_commit_end_with_the_task(start_worker, effects):
    before = sessions()
    start_worker(threads=1)
    assert ended(unfinished.write_on_commit("x")) is DONE
    wait_until(lambda: effects() == ["x"] * 3, what="the effect")
    wait_until(lambda: sessions() <= before, 5, what="the end of its connections")


def test_the_tasks_after_a_restart_of_the_database_connect_again(start_worker, effects):
    # Given: connections in many threads
    start_worker(threads=2)
    tasks = [task for where in ("thread", "coroutine") for task in unfinished.OTHER_THREADS[where]]
    assert {ended(task("before")) for task in tasks} == {DONE}

    # When: each connection is cut
    execute(current(), f"SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) s")

    # Then
    assert {ended(task("after")) for task in tasks} == {DONE}


def test_a_thread_of_the_event_loop_that_has_run_a_whole_task_connects_again_too(start_worker, effects, monkeypatch):
    # Given: a function that was a coroutine function when its task was enqueued
    task = unfinished.ALL["coroutine"].write
    start_worker(threads=1, coroutines=1)
    monkeypatch.setattr(task, "is_async", False)
    monkeypatch.setattr(task, "function", unfinished.write)
    assert ended(task("whole")) is DONE
    assert ended(unfinished.write_beside("before")) is DONE

    # When
    execute(current(), f"SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) s")

    # Then
    assert ended(unfinished.write_beside("after")) is DONE
