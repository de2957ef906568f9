"""A worker that leaves it to others to listen, and is called by them."""

import tempfile

import pytest

from autotask.processes.lookouts import Lookouts, Word
from autotask.store import notify, pauses
from autotask.store.connection import current, execute, rows
from autotask.store.pauses import Kind
from autotask.task import DONE
from tests.helpers import wait_until
from tests.integration.worker import tasks
from tests.integration.worker.test_told import store

pytestmark = pytest.mark.django_db(transaction=True)

LINE = "SELECT idle, line <> '' FROM autotask_worker WHERE id = %(id)s"


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
