"""A worker that leaves it to others to listen, and is called by them."""

import shutil
import tempfile
from types import SimpleNamespace

import pytest
from django.db import connection

from autotask import registry
from autotask.processes.file_locks import FileLock
from autotask.processes.lookouts import Lookouts, Word
from autotask.store import hearing, model_rows, notify, pause, pauses, schedule_runs
from autotask.store.connection import Dedicated, current, execute, rows
from autotask.store.pauses import Kind
from autotask.task import DONE
from autotask.tasks import periodic_task
from autotask.worker import caretaker, scheduler
from autotask.worker.options import WorkerOptions
from autotask.worker.resting import Rest
from autotask.worker.worker import Worker
from tests.helpers import wait_until
from tests.integration.worker import tasks
from tests.integration.worker.test_told import store

pytestmark = pytest.mark.django_db(transaction=True)

LINE = "SELECT idle, line <> '' FROM autotask_worker WHERE id = %(id)s"


@pytest.fixture(autouse=True)
def _nothing_else_to_listen_for(monkeypatch):
    """Leave out the background workers and model tasks of other tests, for which a worker listens anyway."""
    monkeypatch.setattr(caretaker, "registry", SimpleNamespace(definitions=list))
    monkeypatch.setattr(model_rows, "tables", {})


@pytest.fixture
def start_resting(start_worker, settings, monkeypatch):
    """Start workers that rest as soon as possible, and then sleep until they are called."""
    folder = tempfile.TemporaryDirectory()
    monkeypatch.setattr(tempfile, "tempdir", folder.name)
    monkeypatch.setattr("autotask.processes.lookouts.POSTS", 0)
    monkeypatch.setattr("autotask.worker.loop.LONG_SLEEP", 0.1)
    monkeypatch.setattr(notify, "wake_after_commit", lambda *args, **options: None)
    settings.AUTOTASK_POLL_INTERVAL = 60.0

    def start(**options):
        worker = start_worker(**options)
        wait_until(lambda: worker.rest.is_on, what="a worker that rests")
        wait_until(lambda: sleeps_long(worker), what="a long sleep")
        return worker

    yield start
    folder.cleanup()


def sleeps_long(worker):
    """Have the next sleeps without work be a minute long; return whether this one is."""
    idle = worker.loop.claimer.idle
    is_long = idle.seconds == 60.0
    idle.seconds = 60.0
    return is_long and idle.seconds == 60.0


@pytest.fixture
def lookout(start_resting):
    """Keep a lookout for a worker."""
    made = []

    def keep(worker):
        made.append(Lookouts(worker.rest.lookouts._folder, "lookout"))
        return made[-1]

    yield keep
    for each in made:
        each.close()


def now():
    return float("inf")


def test_a_worker_that_rests_does_not_listen_and_is_chosen_by_no_caller(start_resting, lookout):
    # Given
    worker = start_resting()
    assert rows(current(), LINE, {"id": worker.id}) == [(False, False)]
    handle = store(tasks.echo, 1)

    # When
    looked = worker.loop.claimer.looks.began
    execute(current(), f"NOTIFY {notify.WORK_CHANNEL}")
    execute(current(), f"NOTIFY {notify.WORK_CHANNEL}")

    # Then
    assert not worker.loop.news.hears
    assert worker.loop.claimer.looks.began == looked

    # When
    lookout(worker).call(Word.WORK, now())

    # Then
    wait_until(lambda: handle.status is DONE, what="the end of the task")
    assert worker.rest.is_on


def test_a_word_that_is_older_than_the_last_look_wakes_nobody(start_resting, lookout):
    # Given
    worker = start_resting()
    looked = worker.loop.claimer.looks.began
    other = lookout(worker)

    # When
    other.call(Word.WORK, looked - 1.0)
    other.call(Word.ONE, looked - 1.0)
    other.call(Word.SCHEDULES, now())

    # Then
    wait_until(lambda: worker.loop.news._rescheduled_at > looked, what="the third word")
    assert worker.loop.claimer.looks.began == looked


def test_a_worker_that_rests_and_gets_more_than_it_has_room_for_notifies_all(start_resting, lookout):
    # Given
    worker = start_resting(threads=1)
    handles = [store(tasks.pass_gate, name) for name in ("one", "two")]
    listening = current()
    listener = notify.ChannelListener(listening, notify.WORK_CHANNEL)

    # When
    lookout(worker).call(Word.ONE, now())

    # Then
    assert tasks.gate("one reached").wait(10)
    wait_until(lambda: listener.heard() or listener.has_heard, what="a word for all")
    listener.close()
    tasks.gate("one").set()
    tasks.gate("two").set()
    for handle in handles:
        handle.wait(10)


def test_a_worker_that_is_busy_for_long_listens_as_somebody_may_ask_to_cancel_its_task(start_resting, lookout):
    # Given
    worker = start_resting()
    handle = store(tasks.pass_gate, "busy")
    lookout(worker).call(Word.WORK, now())
    assert tasks.gate("busy reached").wait(10)

    # Then
    wait_until(lambda: worker.loop.news.hears, what="a worker that listens")
    assert not worker.rest.is_on
    tasks.gate("busy").set()
    handle.wait(10)


def test_a_pause_that_is_over_reaches_a_worker_that_rests(start_resting, lookout):
    # Given
    worker = start_resting()
    other = lookout(worker)
    pauses.pause(current(), Kind.QUEUE, "default", until=None, reason="", by="")
    other.call(Word.SCHEDULES, now())
    other.call(Word.WORK, now())
    wait_until(lambda: worker.serving.paused, what="a worker that knows of the pause")
    handle = store(tasks.echo, 1)

    # When
    pauses.resume(current(), Kind.QUEUE, "default")
    other.call(Word.WORK, now())
    other.call(Word.SCHEDULES, now())

    # Then
    wait_until(lambda: handle.status is DONE, what="the end of the task")


@pytest.fixture
def relieve():
    """Give a worker that rests the post of a lookout that has died."""

    def relieve(worker):
        lookouts = worker.rest.lookouts
        lookouts._locks.append(FileLock(f"{lookouts._folder}/post0"))

    return relieve


def test_a_worker_looks_at_schedules_when_it_takes_the_post_of_a_lookout_that_has_heard_of_them_and_died(
    start_resting, relieve, monkeypatch
):
    # Given: a schedule at which nobody looks again for an hour, unless there is word of it
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(scheduler, "DECLARE_EVERY", 3600.0)
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 3600.0)
    periodic_task(1, name="tick", executor="process")(lambda: None)
    scheduler.Scheduler(lambda: None).run_once(current())
    pause.pause(current(), "tick", "")
    worker = start_resting(queues=("other",))

    # When
    pause.resume(current(), "tick")
    relieve(worker)

    # Then
    wait_until(lambda: schedule_runs.runs(current(), "tick"), what="a tick")


def test_a_worker_that_hears_nothing_keeps_no_post(start_resting, relieve, monkeypatch):
    # Given: a pooler that shares sessions from now on, and no time to leave the other workers for that reason
    worker = start_resting()
    monkeypatch.setattr("autotask.worker.loop.LONG_SLEEP", 60.0)
    monkeypatch.setattr(hearing, "_latest", {})
    monkeypatch.setattr(hearing, "_hears", lambda *connections: False)
    monkeypatch.setattr(Dedicated, "_set_session", lambda *args: False)
    pid = worker.loop.news.connection.wrapper.connection.info.backend_pid
    rows(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
    worker.wakeup.wake()
    wait_until(lambda: worker.loop.news.connection.pooled, what="a connection through the pooler")

    # When
    relieve(worker)

    # Then
    wait_until(lambda: not worker.rest.is_on, what="the end of its rest")
    assert not worker.loop.news.hears
    assert not worker.rest.keeps_watch


def test_a_worker_whose_connection_ends_while_it_rests_continues(start_resting, lookout):
    # Given
    worker = start_resting()
    pid = worker.loop.news.connection.wrapper.connection.info.backend_pid

    # When
    rows(current(), "SELECT pg_terminate_backend(%(pid)s)", {"pid": pid})
    handle = store(tasks.echo, 1)

    # Then
    other = lookout(worker)
    wait_until(lambda: other.call(Word.WORK, now()) or handle.status is DONE, what="the end of the task")


def test_a_worker_that_rests_stops(start_resting):
    worker = start_resting()
    worker.stop()
    wait_until(lambda: not rows(current(), LINE, {"id": worker.id}), what="the end of its entry")
    assert worker.rest.lookouts is None


@pytest.fixture
def hasty(settings, monkeypatch):
    """Have workers try to rest after each of their looks."""
    monkeypatch.setattr("autotask.processes.lookouts.POSTS", 0)
    settings.AUTOTASK_POLL_INTERVAL = 0.1


@pytest.fixture
def tries(monkeypatch):
    """Return what workers found when they tried to rest."""
    tries, may_begin = [], Rest.may_begin
    monkeypatch.setattr(Rest, "may_begin", lambda rest: tries.append(may_begin(rest)) or tries[-1])
    return tries


def looks(worker, number):
    """Wait for further looks of a worker."""
    for _ in range(number):
        began = worker.loop.claimer.looks.began
        wait_until(lambda began=began: worker.loop.claimer.looks.began > began, what="a look")


def test_a_worker_that_cannot_be_called_does_not_try_to_rest_again_and_again(
    hasty, tries, start_worker, monkeypatch, tmp_path
):
    # Given: a name that is too long for a socket
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    worker = start_worker()
    wait_until(lambda: True in tries, what="a try to rest")

    # When
    before = len(tries)
    looks(worker, 8)

    # Then
    assert len(tries) == before
    assert worker.loop.news.can_be_told


def test_a_worker_that_rests_listens_when_the_folder_is_removed(start_resting):
    # Given
    worker = start_resting()
    worker.loop.claimer.idle.seconds = 0.1

    # When
    shutil.rmtree(worker.rest.lookouts._folder)
    worker.wakeup.wake()

    # Then
    wait_until(lambda: worker.loop.news.can_be_told and not worker.rest.is_on, what="a worker that listens")
    handle = store(tasks.echo, 1)
    execute(current(), f"NOTIFY {notify.WORK_CHANNEL}")
    wait_until(lambda: handle.status is DONE, what="the end of the task")


def test_a_worker_works_where_the_server_does_not_tell_which_one_it_is(hasty, start_worker, caplog):
    # Given: a server that has not all functions of PostgreSQL
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION public.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no such thing here' USING ERRCODE = 'feature_not_supported'; END $$"
        )
        cursor.execute(f'ALTER DATABASE "{name}" SET search_path = public, pg_catalog')
    try:
        # When
        worker = start_worker()
        wait_until(lambda: worker.rest._known is not None, what="a worker that has tried to rest")
        looks(worker, 3)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" RESET search_path')
            cursor.execute("DROP FUNCTION public.pg_postmaster_start_time()")

    # Then
    assert worker.rest.lookouts is None
    assert "Cannot" not in caplog.text


def test_a_worker_that_stops_passes_on_a_call_that_it_has_not_read(hasty, start_worker):
    # Given
    with tempfile.TemporaryDirectory() as folder:
        stopping, other = Worker(WorkerOptions()), Lookouts(f"{folder}/meet", "other")
        stopping.rest.lookouts = Lookouts(f"{folder}/meet", "mine")
        stopping.rest.lookouts.rest()

        # When
        other.call(Word.ONE, now())
        stopping.loop.news.be_handed_nothing()

        # Then
        assert stopping.loop.news.was_called()
        other.close()
