"""A full queue of notifications, because a listening session stays in a transaction (fault 60)."""

import asyncio
import tempfile
import time
from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connections, transaction

from autotask.doctor import examination
from autotask.doctor.diagnosis import Patient, Verdict
from autotask.processes.lookouts import POSTS
from autotask.store import notify, pause, read, rescue
from autotask.store.connection import current, execute, rows
from autotask.task import DONE, RUNNING, State
from tests.faults.app import tasks
from tests.faults.postgres import NoServer, Server
from tests.faults.world import DEFAULTS, World, migrated
from tests.helpers import wait_until
from tests.integration.store.shapes import let_run

ALIAS = "full"


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory) -> Iterator[Server]:
    """A server whose queue of notifications has half a megabyte, the minimum."""
    try:
        server = Server(max_notify_queue_pages=64)
    except NoServer as error:
        pytest.skip(str(error))
    # "postgres (PostgreSQL) 18.4"
    if int(server.run("postgres", "--version").split()[2].partition(".")[0]) < 17:
        pytest.skip("before PostgreSQL 17 the queue has 8 GB")
    server.make()
    migrated(server, tmp_path_factory.mktemp("migrated"))
    yield server
    server.remove()


@pytest.fixture
def world(small_queue, make_world, settings) -> Iterator[World]:
    """A world on that server, whose tasks this process also calls and waits for."""
    world = make_world(small_queue)
    connections.settings[ALIAS] = {**DEFAULTS, **world.entry()}
    settings.AUTOTASK_DATABASE = ALIAS
    yield world
    connections[ALIAS].close()
    del connections[ALIAS], connections.settings[ALIAS]
    world.close()


@pytest.fixture
def laggard(world):
    """Fill the queue, and return the connection that blocks it: it listens, and stays in a transaction."""
    laggard = world.connect(application_name="laggard")
    execute(laggard, "LISTEN anything")
    laggard.set_autocommit(False)
    rows(laggard, "SELECT 1")
    for _ in range(2):
        with pytest.raises(DatabaseError, match="too many notifications"):
            for number in range(10_000):
                rows(world.database, "SELECT pg_notify('filler', repeat('x', 7000) || %(number)s)", {"number": number})
        # This frees the pages before those that the laggard still has to read, as PostgreSQL also does from time to time.
        notify.usage(world.database)
    assert is_full(world)
    yield laggard
    laggard.close()
    notify.usage(world.database)


def is_full(world):
    try:
        execute(world.database, "NOTIFY probe")
    except DatabaseError as error:
        return notify.is_program_limit(error)
    return False


@pytest.mark.fault(60, quick=True)
def test_a_full_queue_of_notifications_stops_no_worker(world, laggard, figures, tmp_path):
    # Given
    worker = world.worker()

    # When: a task whose result is awaited
    began = time.monotonic()
    handle = tasks.note(0.5)
    value = handle.wait(30)
    figures.at_most("result after", time.monotonic() - began, 3.0, "s")

    # Then
    assert isinstance(value, int)
    assert asyncio.run(tasks.note(0.5).await_result(30)) > value

    # and one that is cancelled while it runs: its worker can only read the flag
    handle = tasks.wait_for(str(tmp_path / "never"))
    wait_until(lambda: handle.status is RUNNING, what="its start")
    began = time.monotonic()
    assert handle.cancel()
    wait_until(lambda: handle.ready, 20, "the end of a cancelled task")
    figures.at_most("cancelled after", time.monotonic() - began, 4.0, "s")

    assert is_full(world) and not worker.has_ended()
    assert "queue of notifications is full" in worker.output()
    assert "Traceback" not in worker.output()
    assert world.live() == 0


@pytest.mark.fault(60, quick=True)
def test_workers_that_would_rest_go_on_listening_while_the_queue_of_notifications_is_full(world, laggard):
    # Given: more workers than keep a lookout
    with tempfile.TemporaryDirectory() as folder:
        world.environment["TMPDIR"] = folder
        world.settings["POLL_INTERVAL"] = 0.3
        workers = [world.worker(ready=False) for _ in range(POSTS + 1)]

        # When: one that is about to rest is chosen by no caller
        wait_until(lambda: chosen(world) == POSTS + 1, 40, "idle workers")
        wait_until(lambda: chosen(world) == POSTS, 40, "one that is about to rest")

        # Then
        wait_until(lambda: chosen(world) == POSTS + 1, 20, "one that listens again")
        assert is_full(world)
        assert not [worker.output() for worker in workers if "Cannot" in worker.output()]


def chosen(world):
    """Return the number of workers that callers may choose."""
    return rows(world.database, "SELECT count(*) FROM autotask_worker WHERE line <> ''")[0][0]


@pytest.mark.fault(60, quick=True)
def test_a_full_queue_of_notifications_fails_no_commit_of_a_caller(world, laggard):
    # Given: a waiting and a running task, both awaited, and a paused schedule
    waiting, running = tasks.note(), tasks.note.using(queue="other")()
    for handle in (waiting, running):
        assert read.ask_to_be_told(current(), handle.id)
    let_run(running.id)
    execute(
        current(),
        "INSERT INTO autotask_schedule (name, task, spec, registered_at, next_tick, declared_at, paused_at, paused_by, held, former)"
        " VALUES ('s', 's', 's', now(), now(), now(), now(), 'me', '', '')",
    )

    # When
    with transaction.atomic(ALIAS):
        new = tasks.note()
        with transaction.atomic(ALIAS):
            many = tasks.note.enqueue_many([(), ()])
        assert waiting.cancel() and running.cancel()
        assert pause.resume(current(), "s")

    # Then
    assert all(read.task(current(), handle.id).state is State.READY for handle in (new, *many))
    assert waiting.ready and running.status is RUNNING

    # and without a transaction, and for a task that has killed too many workers
    assert many[0].cancel() and running.cancel()
    assert rescue.rescue(current(), [], reason="gone", max_crashes=1, error_ttl=60)[2] == 1
    assert running.ready
    assert is_full(world)


@pytest.mark.fault(60)
def test_an_atomic_task_commits_although_the_queue_of_notifications_is_full(world, laggard):
    # Given: one that is awaited
    handle = tasks.note_atomically()
    assert read.ask_to_be_told(current(), handle.id)

    # When
    world.worker()

    # Then
    wait_until(lambda: handle.ready, 20, "its end")
    assert (handle.status, handle.attempts) == (DONE, 1)


@pytest.mark.fault(60)
def test_the_doctor_names_the_session_that_fills_the_queue_of_notifications(world, laggard, figures):
    patient = Patient()
    try:
        # When
        began = time.monotonic()
        finding = examination.look_at_notifications(patient)
        figures.at_most("named after", time.monotonic() - began, 8.0, "s")

        # Then
        pid = laggard.connection.info.backend_pid
        assert finding.verdict is Verdict.PROBLEM
        assert f"pid {pid} (laggard on {world.name}, its transaction open for" in finding.text
        assert f"pg_terminate_backend({pid})" in finding.fix

        # When it has gone, the first look frees the queue
        laggard.close()
        wait_until(lambda: examination.look_at_notifications(patient).verdict is Verdict.OK, what="an empty queue")
        assert examination.look_at_listening(patient).verdict is Verdict.OK
    finally:
        patient.close()


@pytest.mark.fault(60)
def test_a_queue_of_notifications_that_can_be_emptied_is_emptied_by_the_first_call(world, laggard):
    # Given: nothing blocks it any more, but it has not been emptied
    laggard.close()
    assert is_full(world)

    # When
    notify.send(current())

    # Then
    assert not is_full(world)
