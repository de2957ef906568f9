"""When the heartbeat of a worker looks for requests to cancel."""

import time

import pytest

from autotask.conf import settings
from autotask.handle import TaskHandle
from autotask.store import enqueue, workers
from autotask.store.connection import current, execute
from autotask.worker.heartbeat import Heartbeat
from autotask.worker.held import HeldTasks
from autotask.worker.options import WorkerOptions
from autotask.worker.outcome import Released
from autotask.worker.registration import FRESH, Registration
from autotask.worker.worker import Worker
from tests.helpers import wait_until
from tests.integration.store.shapes import put, take
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def registration():
    registration = Registration(WorkerOptions(), ())
    registration.sign_on(current())
    return registration


@pytest.fixture
def found():
    return []


@pytest.fixture
def heartbeat(registration, found):
    return Heartbeat(registration, HeldTasks(), found.extend, found.clear, lambda: False, lambda: "")


@pytest.fixture
def cancelled(registration):
    """A task that is on its way to the worker, and is to be cancelled."""
    task = tasks.echo.new_call((1,), {})
    enqueue.insert_claimed(current(), task, registration.id)
    assert TaskHandle(task.id).cancel()
    return task.id


def test_it_looks_for_requests_when_asked_though_nothing_is_held_and_the_beat_is_due(
    heartbeat, cancelled, found, settings
):
    # Given
    settings.AUTOTASK_HEARTBEAT = 0.1
    seconds = heartbeat.run_once(current())
    due = time.monotonic() + seconds
    assert found == [], "without a word, an idle worker looks for nothing"
    wait_until(lambda: time.monotonic() >= due)

    # When
    heartbeat.look_for_requests()
    heartbeat.run_once(current())

    # Then
    assert found == [cancelled]


def test_it_looks_again_if_a_look_has_failed(heartbeat, cancelled, found, monkeypatch):
    # Given
    heartbeat.look_for_requests()
    monkeypatch.setattr("autotask.store.workers.TO_BE_CANCELLED", "SELECT 1 / 0")
    with pytest.raises(Exception, match="division by zero"):
        heartbeat.run_once(current())
    monkeypatch.undo()

    # When
    heartbeat.run_once(current())

    # Then
    assert found == [cancelled]


def test_a_lease_is_trusted_from_before_the_statement_that_signs_on(monkeypatch):
    # Given an answer that comes late, as while a commit waits for a standby
    answered, sign_on = [], workers.sign_on

    def sign_on_slowly(*args):
        sign_on(*args)
        answered.append(time.monotonic())

    monkeypatch.setattr(workers, "sign_on", sign_on_slowly)
    registration = Registration(WorkerOptions(), ())

    # When
    registration.sign_on(current())

    # Then
    assert registration.fresh_until <= answered[0] + FRESH * settings.LEASE


def test_a_task_that_was_claimed_under_a_former_name_does_not_begin_under_the_new_one():
    # Given
    worker = Worker(WorkerOptions())
    begun = worker.claimer.placement.runner._not_begun
    worker.registration.sign_on(current())
    put()
    [task] = take(worker.registration.id)
    assert begun(task, time.monotonic()) is None

    # When: others have its tasks
    execute(current(), "DELETE FROM autotask_worker")
    assert not worker.registration.beat(current(), idle=False)

    # Then: not before the loop has released them, however late that is
    assert worker.registration.beat(current(), idle=False)
    assert begun(task, time.monotonic()) == Released(task)
    worker.loop._prepare(current())
    assert worker.registration.is_fresh()
    worker.loop.news.connection.close()
    for pool in worker.pools.values():
        pool.close()
