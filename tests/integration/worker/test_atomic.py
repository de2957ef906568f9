"""Atomic tasks whose transactions see a snapshot, conflict with others, lose their connection, or commit nothing."""

import threading

import pytest
from django.db import connections
from django.db.backends.postgresql.psycopg_any import IsolationLevel, is_psycopg3

from autotask.context import Progress
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, ERROR
from tests.gates import gate
from tests.helpers import ended, wait_until
from tests.integration.worker import isolated

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def effects(transactional_db):
    """A table for the effects of tasks; returns what is in it."""
    execute(current(), "CREATE TABLE inside_effect (text text)")
    execute(current(), "CREATE TABLE counter AS SELECT 0 AS number")
    yield lambda: [text for (text,) in rows(current(), "SELECT text FROM inside_effect ORDER BY text")]
    execute(current(), "DROP TABLE inside_effect, counter")


@pytest.fixture(autouse=True)
def short(settings):
    settings.AUTOTASK_RETRY_DELAY = 0.05
    yield
    isolated.runs.clear()


@pytest.fixture(params=["REPEATABLE READ", "SERIALIZABLE"])
def snapshot(request, monkeypatch, transactional_db):
    """Threads that connect from now on see a snapshot in each transaction."""
    options = connections.settings["default"]["OPTIONS"]
    level = IsolationLevel[request.param.replace(" ", "_")]
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", {**options, "isolation_level": level})
    return request.param.lower()


@pytest.fixture
def meet():
    """Wait for a task, and return what lets it go on."""

    def prepare(name):
        def wait():
            assert gate(name + " reached").wait(10)
            return gate(name).set

        return wait

    return prepare


def test_progress_does_not_conflict_with_a_task_that_sees_a_snapshot(snapshot, start_worker, effects, meet):
    # Given
    start_worker(threads=1)
    reached = meet("x")
    handle = isolated.with_progress("x")

    # When: it runs for longer than it takes to write progress
    go_on = reached()
    threading.Event().wait(1.5)
    go_on()

    # Then
    assert (ended(handle), handle.result, isolated.runs) == (DONE, snapshot, {"x": 1})
    assert (effects(), handle.progress) == (["x"], Progress(2, 2))


def test_a_wait_for_a_task_that_sees_a_snapshot_costs_no_retry(snapshot, start_worker, effects, meet):
    # Given
    start_worker(threads=1)
    reached = meet("x")
    handle = isolated.wait_for_test("x")
    go_on = reached()

    # When
    waiter = threading.Timer(0.5, go_on)
    waiter.start()

    # Then
    assert handle.wait(10) == isolated.runs["x"]
    assert (handle.attempts, effects(), isolated.runs["x"] <= 2) == (1, ["x"], True)


def test_a_task_that_sees_a_snapshot_can_be_cancelled(snapshot, start_worker, effects, meet):
    worker = start_worker(threads=1)
    reached = meet("x")
    handle = isolated.wait_for_test("x")
    go_on = reached()
    assert handle.cancel()
    wait_until(lambda: handle.id in worker.held.cancelled, what="the news of that")
    go_on()
    assert ended(handle) is CANCELLED
    assert effects() == []


def test_a_transaction_that_conflicts_is_run_again_with_fresh_arguments(snapshot, start_worker, effects):
    start_worker(threads=1)
    handle = isolated.count("x", [], 3)
    assert handle.wait(10) == [300]
    assert (handle.attempts, isolated.runs, effects()) == (1, {"x": 4}, ["x"])


def test_a_transaction_that_conflicts_every_time_is_an_error_in_the_end(snapshot, start_worker, effects):
    start_worker(threads=1)
    handle = isolated.count("x", [], 1000)
    assert ended(handle) is ERROR
    assert "could not serialize access" in handle.error_message
    assert (isolated.runs, effects()) == ({"x": 11}, [])


def test_an_atomic_task_whose_connection_is_cut_runs_again_and_that_is_no_failure(start_worker, effects):
    start_worker(threads=1)
    handle = isolated.cut("x", 2)
    assert handle.wait(10) == 3
    assert (handle.attempts, handle.failed_attempts, effects()) == (1, [], ["x"])


@pytest.fixture(params=["idle_in_transaction_session_timeout", "transaction_timeout"])
def time_limit(request, monkeypatch, transactional_db):
    """The server ends the sessions of threads that connect from now on if their transactions take too long."""
    if request.param == "transaction_timeout" and current().pg_version < 170000:
        pytest.skip("PostgreSQL has it since version 17")
    options = {**connections.settings["default"]["OPTIONS"], "options": f"-c {request.param}=200ms"}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    return request.param


@pytest.mark.parametrize("asking", [True, False], ids=["in a statement", "at the end"])
def test_an_atomic_task_that_takes_longer_than_the_server_allows_has_failed(start_worker, effects, time_limit, asking):
    start_worker(threads=1)
    handle = isolated.be_idle("x", asking)

    assert ended(handle) is ERROR
    assert ("timeout" if is_psycopg3 else "closed the connection") in handle.error_message
    assert (handle.attempts, len(handle.failed_attempts), isolated.runs, effects()) == (2, 2, {"x": 2}, [])


@pytest.mark.parametrize("time_limit", ["transaction_timeout"], indirect=True)
def test_an_atomic_task_with_a_statement_that_takes_longer_than_the_server_allows_has_failed(
    start_worker, effects, time_limit
):
    start_worker(threads=1)
    handle = isolated.ask_for_long("x", "SELECT pg_sleep(60)")

    assert ended(handle) is ERROR
    assert (handle.attempts, isolated.runs, effects()) == (2, {"x": 2}, [])


@pytest.mark.parametrize("statements", [["ROLLBACK"], ["ROLLBACK", "BEGIN"], ["COMMIT"]], ids=" ".join)
def test_an_atomic_task_that_ends_its_transaction_itself_is_an_error(start_worker, effects, statements):
    # When
    start_worker(threads=1)
    handle = isolated.end_transaction("x", *statements)

    # Then
    assert ended(handle) is ERROR
    assert "has ended the transaction" in handle.error_message
    assert effects() == (["x"] if statements == ["COMMIT"] else [])
    assert isolated.ask_nothing("y").wait(10) == "y"


def test_an_atomic_task_that_cuts_its_connection_every_time_is_an_error_in_the_end(start_worker, effects, settings):
    settings.AUTOTASK_RETRY_DELAY = 0.01
    start_worker(threads=1)
    assert ended(isolated.cut("x", 1000)) is ERROR
    assert (isolated.runs, effects()) == ({"x": 11}, [])


def test_a_task_that_runs_at_most_once_is_not_run_again_when_its_connection_is_cut(start_worker, effects):
    start_worker(threads=1)
    assert ended(isolated.cut_once("x")) is ERROR
    assert (isolated.runs, effects()) == ({"x": 1}, [])


@pytest.mark.parametrize("task", [isolated.echo, isolated.echo_once], ids=["any", "at_most_once"])
def test_an_outcome_that_was_committed_counts_although_the_answer_was_lost(
    start_worker, effects, monkeypatch, caplog, task
):
    # Given: a connection that is cut just after the commit
    commits = []
    wrapper = type(current())
    commit_as_ever = wrapper._commit

    def commit(self):
        commit_as_ever(self)
        if threading.current_thread().name.startswith("autotask-1") and self.connection and not commits:
            commits.append(self.connection.info.backend_pid)
            with self.connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(wrapper, "_commit", commit)
    worker = start_worker(threads=1)

    # When
    handle = task("x")

    # Then
    assert handle.wait(10) == 1
    wait_until(lambda: commits and not worker.held, what="the end of the claim")
    assert (len(commits), isolated.runs, effects()) == (1, {"x": 1}, ["x"])
    assert "failed after" not in caplog.text and "nothing was committed" not in caplog.text


def test_where_nothing_is_committed_an_atomic_task_is_an_error(start_worker, effects, monkeypatch):
    # Given
    monkeypatch.setitem(connections.settings["default"], "AUTOCOMMIT", False)
    worker = start_worker(threads=1)

    # When
    handle = isolated.without_autocommit("x")

    # Then
    assert ended(handle) is ERROR
    assert "unfinished on the database 'default'" in handle.error_message
    assert (isolated.runs, effects(), worker.recorder.refused) == ({"x": 1}, [], 0)
