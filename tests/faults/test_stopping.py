"""Workers that are asked to stop (faults 6 and 7), or exit by themselves (fault 62)."""

import signal
import time

import psutil
import pytest

from autotask.task import State
from tests.faults.app import tasks


def stop(world, worker):
    """Ask a worker to stop, and return the seconds until it has."""
    world.ledger.write("fault", pid=worker.pid, action="SIGTERM", seconds=60)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0, worker.output()
    return time.monotonic() - began


@pytest.mark.fault(6)
def test_tasks_that_end_within_the_grace_period_are_finished_and_not_repeated(world, figures):
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


@pytest.mark.fault(7)
def test_tasks_that_do_not_end_within_the_grace_period_are_released_as_if_they_had_not_begun(world, figures):
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
def test_a_worker_asked_twice_does_not_wait_for_the_end_of_the_grace_period(world, figures):
    worker = world.worker(options={"SHUTDOWN_GRACE": 60})
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    worker.signal(signal.SIGTERM)
    world.until(lambda: world.identity(worker.pid).stopping, 10, "the first request to stop")
    figures.at_most("worker gone after the second request", stop(world, worker), 2.0, "s")
    assert world.task(id).state is State.READY


@pytest.mark.fault(62)
@pytest.mark.parametrize("what", ["thread", "executor", "child", "exit hook"])
def test_recycled_workers_exit_whatever_their_tasks_have_left_behind(world, figures, what):
    # Given
    crew = world.start("-m", "django", "autotask", "worker", "--threads=1", "--max-tasks=1")
    ids = [world.call(tasks.leave_behind, what) for _ in range(4)]

    # When
    began = time.monotonic()
    for id in ids:
        world.wait_for(id, 60)

    # Then
    figures.at_most("four tasks, each in its own worker", time.monotonic() - began, 40.0, "s")
    workers = [world.wait_for_start(id).pid for id in ids]
    assert len({*workers}) == 4
    began = time.monotonic()
    world.until(lambda: not any(map(psutil.pid_exists, workers)), 30, "the end of the workers")
    figures.at_most("the last ones gone after", time.monotonic() - began, 12.0, "s")
    assert world.check().violations == []
    assert "the worker ended" not in crew.output(), crew.output()
    assert stop(world, crew) < 2
