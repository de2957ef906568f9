"""Fixtures: a worker in this process, also at the pipes of a companion, and a second connection for races."""

import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from types import SimpleNamespace

import pytest
from django.db import connections
from django.test import TransactionTestCase

from autotask import registry
from autotask.companion.pipes import Pipes
from autotask.handle import TaskHandle
from autotask.own_worker import own
from autotask.scheduled import ScheduledTask
from autotask.store.connection import current, dedicated, execute
from autotask.worker import scheduler
from autotask.worker.options import WorkerOptions
from autotask.worker.worker import Worker
from tests import gates, tables
from tests.helpers import PATIENCE, patient, wait_until_sessions_end

pytest_plugins = ["autotask.pytest_plugin", "tests.children", "tests.refusing", "tests.reporting", "tests.threads"]

# Processes that a shell starts in the background ignore Ctrl-C, and so would their children.
signal.signal(signal.SIGINT, signal.default_int_handler)

TransactionTestCase._fixture_teardown = tables.empty  # type: ignore[method-assign]
TransactionTestCase._should_reload_connections = tables.reconnect  # type: ignore[attr-defined]

# schemathesis brings a module that makes 38 grammars when jsonschema imports it, which takes two seconds in each process. The
# extra "schema" does without it.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

#: What commands write into the environment of their process; the processes of later tests would inherit it.
MARKS = {"AUTOTASK_GUARD", "AUTOTASK_JSON_LINES", "AUTOTASK_VERBOSE", "AUTOTASK_WORKER"} - set(os.environ)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Find a test that leaves such a mark behind."""
    yield
    left = MARKS & set(os.environ)
    for name in left:
        del os.environ[name]
    assert not left, f"left behind in the environment: {left}"


@pytest.fixture(autouse=True)
def closed_gates() -> None:
    """Close the gates that an earlier test of this process has opened: names are used again."""
    gates.forget()


@pytest.fixture(autouse=True, scope="session")
def patient_handles() -> Iterator[None]:
    """On a busy machine, also wait longer for tasks, except those that a test expects not to finish in time."""
    wait, await_result = TaskHandle.wait, TaskHandle.await_result

    def longer(timeout: float | None) -> float | None:
        return patient(timeout) if timeout and timeout >= 5 else timeout

    async def await_longer(handle: TaskHandle, timeout: float | None = None) -> object:
        return await await_result(handle, longer(timeout))

    with pytest.MonkeyPatch.context() as patched:
        if PATIENCE != 1:
            patched.setattr(TaskHandle, "wait", lambda self, timeout=None: wait(self, longer(timeout)))
            patched.setattr(TaskHandle, "await_result", await_longer)
        yield


@pytest.fixture(autouse=True)
def own_schedules(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers in this process run only the schedules that the test declares, or names in ``@pytest.mark.schedules``.

    Those of the demo and of other tests would take threads, notify, and keep connections busy.
    """
    named = {name for mark in request.node.iter_markers("schedules") for name in mark.args}
    others = {name: task for name, task in registry.schedules().items() if name not in named}

    def own() -> dict[str, ScheduledTask[..., object]]:
        return {name: task for name, task in registry.schedules().items() if task is not others.get(name)}

    monkeypatch.setattr(scheduler, "registry", SimpleNamespace(schedules=own))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> Iterator[None]:
    """Before the test databases are dropped, wait for sessions of threads and processes that are about to end."""
    yield
    with django_db_blocker.unblock():
        for connection in connections.all():
            left = wait_until_sessions_end(connection)
            connection.close()
            assert not left, f"sessions in {connection.settings_dict['NAME']} that no test has ended: {left}"


@pytest.fixture
def other_connection(transactional_db):
    """A second connection to the test database, for races and to see what is committed."""
    connection = dedicated("test")
    yield connection.wrapper
    connection.close()


@pytest.fixture
def lesser_role(transactional_db):
    """The name of a role that may read and write all tables, but not use the sequence."""
    name = f"lesser_{uuid.uuid4().hex}"
    execute(current(), f"CREATE ROLE {name}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    yield name
    execute(current(), f"RESET ROLE; DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def start_worker(transactional_db, settings) -> Iterator[Callable[..., Worker]]:
    """Start real workers in threads of this process, and stop them at the end of the test."""
    settings.AUTOTASK_HEARTBEAT = 0.2
    settings.AUTOTASK_SHUTDOWN_GRACE = 5
    running: list[tuple[Worker, threading.Thread]] = []

    def start(**options) -> Worker:
        worker = Worker(WorkerOptions(**options))
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        running.append((worker, thread))
        return worker

    yield start
    for worker, thread in running:
        worker.stop()
        thread.join(0.5)
        worker.stop()  # Asked twice, it does not wait for running tasks.
        thread.join(patient(10))
        assert not thread.is_alive(), "the worker did not stop"


@pytest.fixture
def worker(start_worker) -> Worker:
    """A real worker that runs in a thread of this process."""
    return start_worker()


@pytest.fixture
def pipes():
    """The pipes to a companion, as the process has them that it serves."""
    pipes = Pipes()
    own.line = pipes
    yield pipes
    own.line = None
    pipes.close()


@pytest.fixture
def serve(pipes, start_worker):
    """Start a worker at the other end of the pipes."""

    def serve(**options):
        return start_worker(wake_fd=os.dup(pipes.wake), offer_fds=pipes.offers, **options)

    return serve
