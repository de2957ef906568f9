"""``AUTOTASK_COMPANION_YIELDS``: companions leave to dedicated workers what these serve, as long as they live."""

import pytest

from autotask.store import notify, read, workers
from autotask.store.connection import current
from autotask.task import THREAD
from autotask.worker.identity import make_identity
from tests.helpers import wait_until
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def by_whom(handles):
    """Return the workers that have run the tasks."""
    for handle in handles:
        handle.wait(10)
    return {read.task(current(), handle.id).worker_id for handle in handles}


@pytest.fixture
def companion(start_worker):
    return start_worker(kind="companion", yields=True)


def test_a_companion_leaves_the_queues_of_a_dedicated_worker_and_comes_back_when_that_is_gone(start_worker, companion):
    # Given
    assert by_whom(tasks.echo.using(queue="mail").enqueue_many([(1,)] * 5)) == {companion.id}

    # When
    dedicated = start_worker(queues=("mail",), coroutines=0)
    wait_until(lambda: companion.serving.yielding.leaves(THREAD, "mail"), what="a look at the register")

    # Then
    assert by_whom(tasks.echo.using(queue="mail").enqueue_many([(1,)] * 50)) == {dedicated.id}
    assert by_whom([tasks.echo("other")]) == {companion.id}

    # Then it keeps what the dedicated worker leaves to others
    assert by_whom([tasks.double.using(queue="mail")(2)]) == {companion.id}

    # When
    dedicated.stop()

    # Then
    assert by_whom([tasks.echo.using(queue="mail")(1)]) == {companion.id}


def test_a_companion_does_not_wait_for_a_dedicated_worker_that_is_dead(companion):
    # Given a worker that is in the register and serves everything
    dead = make_identity(kind="worker", serves_pid=None, queues=(), threads=1)
    workers.sign_on(current(), dead, lease=2)
    wait_until(lambda: companion.serving.yielding.leaves(THREAD, "default"), what="a look at the register")

    # When
    handle = tasks.echo("left alone")

    # Then
    assert handle.wait(10) == "left alone"


def test_a_companion_that_is_set_to_keep_its_queues_keeps_them(start_worker):
    companion = start_worker(kind="companion")
    workers.sign_on(current(), make_identity(kind="worker", serves_pid=None, queues=(), threads=1), lease=60)
    assert by_whom([tasks.echo(1)]) == {companion.id}


def test_a_companion_passes_on_the_word_of_tasks_that_it_does_not_serve(start_worker, other_connection, monkeypatch):
    # Given
    start_worker(queues=("mine",))
    tasks.echo.using(queue="mine")(1).wait(10)
    listener = notify.ChannelListener(other_connection, notify.WORK_CHANNEL)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))  # else it may be too soon for a second word

    # When
    tasks.echo.using(queue="other")(1)

    # Then
    wait_until(listener.heard, what="the word")
