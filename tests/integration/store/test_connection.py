"""Connections: the caller's own, and those of a worker that nobody else can touch."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import InterfaceError, OperationalError, close_old_connections, connections
from django.db.utils import DatabaseError, DataError, NotSupportedError, ProgrammingError

from autotask.exceptions import NotPostgreSQL
from autotask.store.connection import aware, current, dedicated, execute, rows, text, unanswered
from autotask.store.errors import is_outage
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def of_a_worker(transactional_db):
    connection = dedicated("role of a test")
    yield connection
    connection.close()


def test_the_connection_of_the_caller_is_django_s_own():
    assert current() is connections["default"]


def test_another_kind_of_database_is_refused(settings, monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "vendor", "sqlite")
    with pytest.raises(NotPostgreSQL, match="autotask needs PostgreSQL, but the database 'default' uses"):
        current()


def test_a_connection_of_a_worker_says_what_it_is_for_and_does_not_wait_for_ever(of_a_worker):
    assert rows(of_a_worker.wrapper, "SHOW application_name") == [("autotask role of a test",)]
    assert rows(of_a_worker.wrapper, "SHOW statement_timeout") == [("10s",)]
    assert rows(of_a_worker.wrapper, "SHOW lock_timeout") == [("700ms",)]


def test_it_is_on_the_database_of_the_tests(of_a_worker):
    ((name,),) = rows(of_a_worker.wrapper, "SELECT current_database()")
    assert name == current().settings_dict["NAME"]
    assert name.startswith("test_")


def test_it_is_another_session_than_the_caller_s_and_survives_what_closes_those(of_a_worker):
    # Given
    ((mine,),) = rows(current(), "SELECT pg_backend_pid()")
    ((own,),) = rows(of_a_worker.wrapper, "SELECT pg_backend_pid()")
    assert mine != own

    # When
    close_old_connections()
    connections.close_all()

    # Then
    assert rows(of_a_worker.wrapper, "SELECT pg_backend_pid()") == [(own,)]


def test_after_its_loss_the_next_use_opens_a_new_one(of_a_worker):
    # Given
    ((pid,),) = rows(of_a_worker.wrapper, "SELECT pg_backend_pid()")
    rows(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})

    # When
    with pytest.raises((OperationalError, InterfaceError)) as caught:
        rows(of_a_worker.wrapper, "SELECT 1")
    of_a_worker.close()
    of_a_worker.close()

    # Then
    assert is_outage(caught.value)
    assert rows(of_a_worker.wrapper, "SELECT pg_backend_pid()") != [(pid,)]


def test_a_statement_that_is_wrong_is_no_outage():
    for statement in ("SELECT wibble", "SELECT 1/0", "SELECT 'x'::int"):
        with pytest.raises((ProgrammingError, DataError, DatabaseError)) as caught:
            rows(current(), statement)
        assert not is_outage(caught.value)
    assert not is_outage(ValueError())


def test_a_database_that_can_only_be_read_is_outage(of_a_worker):
    execute(of_a_worker.wrapper, "SET default_transaction_read_only = on")
    with pytest.raises(DatabaseError) as caught:
        execute(of_a_worker.wrapper, "DELETE FROM autotask_task")
    assert is_outage(caught.value)


@pytest.mark.parametrize("use_tz", [True, False])
def test_moments_are_aware_whatever_the_site_uses(settings, use_tz):
    settings.USE_TZ = use_tz
    settings.TIME_ZONE = "Australia/Lord_Howe"
    connections["default"].close()
    ((moment,),) = rows(current(), "SELECT timestamptz '2026-07-01 12:00+00'")
    assert aware(moment) == datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert aware(moment).tzinfo is UTC
    connections["default"].close()


def test_an_aware_moment_stays_the_same_and_none_stays_none():
    moment = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert aware(moment) == moment
    assert aware(None) is None


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("plain", "plain"),
        ("a\0b", "a\\0b"),
        ("\ud800", "\\ud800"),
        ("😀", "😀"),
        ("", ""),
        ("x" * 50, "x" * 9 + "…"),
    ],
)
def test_any_text_can_be_stored(value, stored):
    assert text(value, 10) == stored
    assert rows(current(), "SELECT %(value)s::text", {"value": text(value, 10)}) == [(stored,)]


def test_a_connection_that_cannot_be_set_up_is_closed(of_a_worker, monkeypatch):
    # Given: what Django does once it is connected fails
    opened = []

    def fail(wrapper):
        opened.append(wrapper.connection)
        raise NotSupportedError("PostgreSQL 16 or later is required")

    monkeypatch.setattr(type(current()), "init_connection_state", fail)

    # When
    with pytest.raises(NotSupportedError):
        of_a_worker.wrapper  # noqa: B018

    # Then
    [connection] = opened
    assert connection.closed


def test_a_session_of_a_worker_is_not_subject_to_what_is_set_for_the_database(of_a_worker):
    # Given
    name = current().settings_dict["NAME"]
    timeouts = {"statement_timeout": "50ms", "lock_timeout": "5ms", "idle_session_timeout": "200ms"}
    if current().pg_version >= 170000:
        timeouts["transaction_timeout"] = "50ms"
    for timeout, value in timeouts.items():
        execute(current(), f"ALTER DATABASE {name} SET {timeout} = '{value}'")

    # When
    try:
        found = {timeout: rows(of_a_worker.wrapper, f"SHOW {timeout}")[0][0] for timeout in timeouts}
    finally:
        execute(current(), f"ALTER DATABASE {name} RESET ALL")

    # Then
    expected = {
        "statement_timeout": "10s",
        "lock_timeout": "700ms",
        "idle_session_timeout": "0",
        "transaction_timeout": "0",
    }
    assert found == {timeout: expected[timeout] for timeout in timeouts}


def test_no_statement_of_a_worker_is_compiled(of_a_worker):
    """PostgreSQL would take longer to compile one than to run it, once many tasks wait."""
    assert rows(of_a_worker.wrapper, "SHOW jit") == [("off",)]


def test_one_sees_for_how_long_a_worker_s_connection_waits_for_an_answer(of_a_worker):
    # Given
    assert rows(of_a_worker.wrapper, "SELECT 1") == [(1,)]
    assert of_a_worker.asked_at is None
    asking = threading.Thread(target=lambda: rows(of_a_worker.wrapper, "SELECT pg_sleep(0.5)"))

    # When
    asking.start()

    # Then
    wait_until(lambda: (unanswered() or (0.0, ""))[1] == "role of a test", what="a connection that waits")
    asking.join()
    assert of_a_worker.asked_at is None


def test_a_fork_in_the_middle_of_a_look_at_all_connections_can_open_its_own():
    script = """
import os, signal, django
django.setup()
from autotask.store import connection
with connection._all_lock:
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        connection.dedicated("child")
        os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=path)
    assert (done.stdout, done.stderr) == ("0\n", "")
