"""Workers that are told to stop (faults 6 and 7)."""

import signal
import time

import pytest

from autotask.task import State
from tests.faults.app import tasks


def stop(world, worker):
    """Tell a worker to stop, and return the seconds until it has."""
    world.ledger.write("fault", pid=worker.pid, action="SIGTERM", seconds=60)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0, worker.output()
    return time.monotonic() - began


@pytest.mark.fault(6, quick=True)
def test_what_ends_within_the_grace_is_finished_and_not_repeated(world, figures):
    # Given
    worker = world.worker(options={"SHUTDOWN_GRACE": 10})
    id = world.call(tasks.note, 3.0)
    world.wait_for_start(id)

    # When
    seconds = stop(world, worker)

    # Then
    task = world.ended(id)
    assert (task.state, task.attempt) == (State.DONE, 1)
    figures.at_most("worker gone after", seconds, 4.0, "s")
    world.worker()
    world.drain()
    figures.exactly("executions", world.check().executions, 1)


@pytest.mark.fault(7, quick=True)
def test_what_does_not_end_within_the_grace_is_handed_back_as_if_it_had_not_begun(world, figures):
    # Given
    worker = world.worker("--threads=1", options={"SHUTDOWN_GRACE": 2})
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    waiting = world.call(tasks.note)

    # When
    seconds = stop(world, worker)

    # Then
    figures.at_most("worker gone after the grace and", seconds - 2, 1.0, "s")
    assert [(world.task(i).state, world.task(i).attempt, world.task(i).lost) for i in (id, waiting)] == [
        (State.READY, 0, 0),
        (State.READY, 0, 0),
    ]
    (world.folder / "go").touch()
    world.worker()
    world.drain()
    assert world.check().violations == []


@pytest.mark.fault(7, quick=True)
def test_who_is_told_twice_does_not_wait_for_the_end_of_the_grace(world, figures):
    worker = world.worker(options={"SHUTDOWN_GRACE": 60})
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    worker.signal(signal.SIGTERM)
    world.until(lambda: world.identity(worker.pid).stopping, 10, "the first request to stop")
    figures.at_most("worker gone after the second request", stop(world, worker), 2.0, "s")
    assert world.task(id).state is State.READY
