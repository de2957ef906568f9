"""A task gets no other task's mess, also not from one that was cut off while it connected."""

import threading
import time

import pytest
from django.db.backends.signals import connection_created

from autotask.store.connection import current, rows
from autotask.task import DONE, ERROR
from autotask.worker import hygiene, traces
from tests.helpers import ended
from tests.integration.worker import messy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def while_connecting():
    """Have something done once, when a thread of tasks connects, before the worker notices the connection."""
    receivers = connection_created.receivers[:]
    todo = []

    def receiver(connection, **_):
        if todo and connection.alias == "default" and threading.current_thread().name.startswith(messy.THREADS):
            todo.pop()()

    def do(what):
        todo.append(what)

    # As the receivers of a project, which are connected before those of the worker.
    with connection_created.lock:
        connection_created.receivers[:] = []
    connection_created.connect(receiver, weak=False)
    with connection_created.lock:
        connection_created.receivers += receivers
        connection_created.sender_receivers_cache.clear()
    yield do
    with connection_created.lock:
        connection_created.receivers[:] = receivers
        connection_created.sender_receivers_cache.clear()


def wait_long():
    end = time.monotonic() + 10
    while time.monotonic() < end:
        time.sleep(0.01)


def fail():
    raise ValueError("a receiver of the project")


@pytest.mark.parametrize("task", [messy.look, messy.swallow_and_look])
def test_a_thread_that_was_interrupted_while_it_connected_is_tidied(start_worker, while_connecting, task):
    # Given
    start_worker(threads=1)
    while_connecting(wait_long)

    # When
    assert ended(task.using(timeout=1)()) is (ERROR if task is messy.look else DONE)

    # Then: what the next one leaves open does not reach the one after it
    left = messy.leave_open().wait(10)
    assert messy.look().wait(10) != left


def test_a_thread_that_failed_while_it_connected_is_tidied(start_worker, while_connecting):
    start_worker(threads=1)
    while_connecting(fail)
    assert ended(messy.look()) is ERROR
    left = messy.leave_open().wait(10)
    assert messy.look().wait(10) != left


def test_coroutines_whose_thread_failed_while_it_connected_are_tidied(start_worker, while_connecting):
    start_worker()
    while_connecting(fail)
    assert ended(messy.look_in_coroutine()) is ERROR
    left = messy.leave_open_in_coroutine().wait(10)
    assert messy.look_in_coroutine().wait(10) != left


def test_a_connection_that_cannot_be_tidied_changes_no_outcome(start_worker, monkeypatch, caplog):
    # Given
    start_worker(threads=1)

    def broken(connection):
        raise RuntimeError("no words")

    # When
    with monkeypatch.context() as patched:
        patched.setattr(hygiene, "_tidy", broken)
        first = messy.look().wait(10)

    # Then
    assert "could not be tidied" in caplog.text
    assert messy.look().wait(10) != first


def test_a_connection_in_whose_place_its_thread_has_opened_another_meanwhile_is_closed(monkeypatch):
    # Given a thread that begins something new between two looks at it
    connection = current()
    connection.ensure_connection()
    entry = traces.Opened(connection, connection.connection, threading.current_thread())
    looks = []

    def is_idle(entry):
        looks.append(entry)
        if len(looks) == 2:
            connection.ensure_connection()
        return len(looks) == 1

    monkeypatch.setattr(traces.Opened, "_is_idle", is_idle)

    # When, then
    assert entry.end()
    assert entry.raw.closed
    assert rows(connection, "SELECT 1") == [(1,)]
