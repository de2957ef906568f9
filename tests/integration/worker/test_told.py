"""A worker that is the only one to be told of a task: it takes it, or passes the word on; if it dies, others look."""

import os
import signal

import pytest
from django.db import transaction

from autotask.store import hearing, notify, read
from autotask.store.addressee import idle_channel
from autotask.store.connection import current, execute, rows
from autotask.task import DONE
from tests.helpers import wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

IDLE = "SELECT idle FROM autotask_worker WHERE id = %(id)s"


@pytest.fixture
def sound_sleep(monkeypatch):
    """Let idle workers sleep until they are woken."""
    monkeypatch.setattr("autotask.worker.idle.FIRST_SLEEP", 60.0)
    monkeypatch.setattr("autotask.worker.loop.FIRST_SLEEP", 60.0)
    monkeypatch.setattr(notify, "NOTIFY_INTERVAL", 0.0)


@pytest.fixture
def silence(monkeypatch):
    """Let calls wake nobody by themselves."""
    monkeypatch.setattr(notify, "wake_after_commit", lambda *args: None)


@pytest.fixture
def start_idle(sound_sleep, silence, start_worker):
    """Start workers, and wait until they are idle."""

    def start(**options):
        worker = start_worker(**options)
        wait_until(lambda: is_idle(worker), what="a beat of an idle worker")
        # Its first beat may come before its first look for work, after which it makes due tasks ready.
        wait_until(lambda: worker.loop.promote_at > float("-inf"), what="its first look for work")
        return worker

    return start


def is_idle(worker):
    return rows(current(), IDLE, {"id": worker.id}) == [(True,)]


def tell(worker):
    """Tell just this worker that there is work."""
    execute(current(), f"NOTIFY {idle_channel(worker.id)}")


def store(definition, *args):
    """Store a call of which nobody is told."""
    with transaction.atomic():
        return definition(*args)


def whose(handle):
    """Return the worker that has run a task."""
    wait_until(lambda: handle.status is DONE, what="the end of the task")
    return read.task(current(), handle.id).worker_id


def test_a_worker_says_whether_it_is_idle(start_idle):
    # Given
    worker = start_idle()

    # When
    handle = store(tasks.pass_gate, "idle")
    tell(worker)

    # Then
    assert tasks.gate("idle reached").wait(10)
    wait_until(lambda: not is_idle(worker), what="a beat of a busy worker")
    tasks.gate("idle").set()
    handle.wait(10)
    wait_until(lambda: is_idle(worker), what="a beat of an idle worker")


def test_a_worker_with_older_code_is_not_the_only_one_to_be_told(start_idle):
    worker = start_idle()
    worker.unknown_tasks.met("shop.tasks.new", "no such task")
    wait_until(lambda: not is_idle(worker), what="a beat of a worker that does not know all tasks")


def test_the_worker_that_is_told_takes_the_task(start_idle):
    told, _ = start_idle(), start_idle()
    handle = store(tasks.echo, 1)
    tell(told)
    assert whose(handle) == told.id


def test_a_worker_without_room_passes_the_word_on(start_idle):
    # Given
    full, other = start_idle(threads=1), start_idle()
    busy = store(tasks.pass_gate, "full")
    tell(full)
    assert tasks.gate("full reached").wait(10)

    # When
    handle = store(tasks.echo, 1)
    tell(full)

    # Then
    assert whose(handle) == other.id
    tasks.gate("full").set()
    assert whose(busy) == full.id


def test_a_worker_that_gets_more_than_it_has_room_for_passes_the_word_on(start_idle):
    # Given
    told, other = start_idle(threads=1), start_idle(threads=1)
    handles = [store(tasks.pass_gate, name) for name in ("one", "two")]

    # When
    tell(told)

    # Then
    for name in ("one", "two"):
        assert tasks.gate(f"{name} reached").wait(10)
    tasks.gate("one").set()
    tasks.gate("two").set()
    assert {whose(handle) for handle in handles} == {told.id, other.id}


def test_a_worker_passes_the_word_on_for_calls_that_tell_nobody_so_soon_after_the_first(
    start_idle, other_connection, monkeypatch
):
    # Given a worker that has looked once more after the last call that it was told of, and has no room
    monkeypatch.setattr("autotask.worker.claiming.claimer.FIRST_SLEEP", 60.0)
    monkeypatch.setattr("autotask.worker.loop.FIRST_SLEEP", 0.03)  # between its looks without room
    told = start_idle(threads=1)
    busy = store(tasks.pass_gate, "busy")
    looks = count_looks(told, monkeypatch)
    tell(told)
    assert tasks.gate("busy reached").wait(10)
    wait_until(lambda: len(looks) >= 2, what="a look without room")
    execute(other_connection, f"LISTEN {notify.WORK_CHANNEL}")

    # When
    handle = store(tasks.echo, 1)

    # Then
    wait_until(lambda: rows(other_connection, "SELECT 1") and hearing.heard(other_connection), what="the word")
    tasks.gate("busy").set()
    assert whose(busy) == whose(handle) == told.id


def count_looks(worker, monkeypatch):
    """Return a list that gets an item with each look for lanes."""
    looks, claims = [], worker.claimer.claims
    find = claims.find_lanes
    monkeypatch.setattr(claims, "find_lanes", lambda *args: looks.append(found := find(*args)) or found)
    return looks


def test_a_worker_that_stops_passes_the_word_on(start_idle, settings):
    # Given
    leaving, other = start_idle(), start_idle()
    settings.AUTOTASK_SHUTDOWN_GRACE = 60
    busy = store(tasks.pass_gate, "leaving")
    tell(leaving)
    assert tasks.gate("leaving reached").wait(10)
    leaving.stop()
    wait_until(lambda: leaving.registration.stopping, what="the beginning of the end")

    # When
    handle = store(tasks.echo, 1)
    tell(leaving)

    # Then
    assert whose(handle) == other.id
    tasks.gate("leaving").set()
    assert whose(busy) == leaving.id


def test_a_request_to_cancel_arrives_at_once_while_a_worker_stops(start_worker, settings):
    # Given a worker that asks for such requests only when it is told
    settings.AUTOTASK_HEARTBEAT = settings.AUTOTASK_LEASE = 300
    worker = start_worker(threads=1)
    handle = tasks.pass_gate("cancelled")
    assert tasks.gate("cancelled reached").wait(10)
    worker.stop()
    wait_until(lambda: worker.registration.stopping, what="the beginning of the end")

    # When
    handle.cancel()

    # Then
    wait_until(lambda: handle.id in worker.held.cancelled, what="the request")
    tasks.gate("cancelled").set()


def test_if_the_worker_that_is_told_is_killed_another_one_finds_the_task(start_crew, silence):
    # Given
    told, other = start_crew(), start_crew()
    wait_until(lambda: len(read.workers(current())) == 2, what="the entry of the workers in the register")
    ids = {worker.pid: worker.id for worker in read.workers(current())}
    os.kill(told.pid, signal.SIGSTOP)

    # When
    handle = store(tasks.echo, "found")
    execute(current(), f"NOTIFY {idle_channel(ids[told.pid])}")
    os.kill(told.pid, signal.SIGKILL)

    # Then
    assert handle.wait(10) == "found"
    assert whose(handle) == ids[other.pid]
