"""Fixtures of races: more connections than one, and threads whose errors are not lost; and of prepared statements."""

import threading
import weakref

import pytest

from autotask.store import prepared
from autotask.store.connection import current, dedicated, execute


@pytest.fixture
def transaction(other_connection):
    """A second connection in the middle of a transaction; it holds its locks until it is told to commit or roll back."""
    execute(other_connection, "BEGIN")
    yield other_connection
    if other_connection.connection is not None:
        execute(other_connection, "ROLLBACK")


@pytest.fixture
def generic(db, monkeypatch):
    """All that may be prepared is, with the plan that it would have after some time, which knows no parameter."""
    monkeypatch.setattr(prepared, "OFTEN", 1)
    monkeypatch.setattr(prepared, "keeps_session", lambda connection: True)
    monkeypatch.setattr(prepared, "_known", weakref.WeakKeyDictionary())
    execute(current(), "SET plan_cache_mode = force_generic_plan")
    yield
    execute(current(), "RESET plan_cache_mode")
    execute(current(), "DEALLOCATE ALL")


@pytest.fixture
def in_threads(transactional_db):
    """Call a function several times at once, each time with a connection of its own; return what it returned."""

    def call(function, times=1):
        results, errors = [], []
        barrier = threading.Barrier(times)

        def run(number):
            connection = dedicated("thread")
            try:
                wrapper = connection.wrapper
                barrier.wait(10)
                results.append(function(wrapper, number))
            except BaseException as error:  # noqa: B036 - it is raised below
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=(number,)) for number in range(times)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a thread hangs"
        if errors:
            raise errors[0]
        return results

    return call


@pytest.fixture
def in_background(transactional_db):
    """Start a function with a connection of its own; call what is returned to get its result."""
    connections = []

    def start(function):
        connection = dedicated("background")
        connections.append(connection)
        wrapper = connection.wrapper
        found = []
        thread = threading.Thread(target=lambda: found.append(function(wrapper)))
        thread.start()

        def result():
            thread.join(10)
            assert found, "it has not come to an end"
            return found[0]

        return result

    yield start
    for connection in connections:
        connection.close()
