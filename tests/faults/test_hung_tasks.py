"""Tasks that hang, and their time limits (fault 46)."""

import time

import psutil
import pytest

from autotask.processes.exit_status import RECYCLED
from autotask.task import State
from autotask.worker.watch import STOP_WITHIN
from tests.faults.app import tasks
from tests.helpers import wait_until

#: The time limit of each.
LIMIT = 1.0

STOPPABLE = {
    "in a thread": tasks.spin,
    "in a coroutine": tasks.doze,
    "in a process": tasks.spin_in_process,
    "in a process, in C": tasks.hold_the_gil_in_process,
}


def beyond(task):
    """Return the seconds that a task has taken beyond its limit."""
    return (task.ended_at - task.started_at).total_seconds() - LIMIT


@pytest.mark.fault(46)
def test_tasks_that_can_be_stopped_stop_at_their_limit_and_no_others_do(world, figures):
    # Given: four that hang, one of each kind, next to four slow ones
    worker = world.worker("--processes=4")
    gate = str(world.folder / "go")
    siblings = [world.call(task, gate) for task in (tasks.wait_for, tasks.wait_for_in_process)]
    for id in siblings:
        world.wait_for_start(id)

    # When
    hung = {how: world.call(task, timeout=LIMIT) for how, task in STOPPABLE.items()}

    # Then
    for how, id in hung.items():
        task = world.wait_for(id, state=State.ERROR)
        assert (task.error_message, task.attempt, task.lost) == ("timed out after 1 s", 1, 0)
        figures.at_most(f"{how}: stopped after the limit and", beyond(task), 1.0, "s")
    children = psutil.Process(worker.pid).children()
    figures.exactly("child processes left, one of them with a task", len(children), 1)

    # Then: neither their siblings nor later tasks are affected
    (world.folder / "go").touch()
    for id in siblings:
        world.wait_for(id)
    world.wait_for(world.call(tasks.note))
    assert not worker.has_ended()
    assert world.check().violations == []
    figures.exactly("executions", world.check().executions, len(hung) + len(siblings) + 1)


@pytest.mark.fault(46)
def test_a_thread_that_does_not_stop_is_given_up_and_its_worker_exits_when_the_others_have_finished(world, figures):
    # Given
    world.keep(1)
    (worker,) = world.kept()
    sibling = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(sibling)

    # When
    hung = world.call(tasks.sleep_in_c, 120.0, timeout=LIMIT)

    # Then
    task = world.wait_for(hung, STOP_WITHIN + 20, State.ERROR)
    figures.at_most("given up after the limit and", beyond(task), STOP_WITHIN + 1, "s")
    following = world.call(tasks.note)
    assert world.task(sibling).state is State.RUNNING and world.task(following).state is State.READY

    # When
    (world.folder / "go").touch()
    began = time.monotonic()

    # Then
    assert world.wait_for(sibling).attempt == 1
    assert wait_until(worker.process.poll, 20, "the end of the worker") == RECYCLED
    figures.at_most("worker gone after its last task and", time.monotonic() - began, 1.0, "s")
    world.wait_for(following)
    assert {event.pid for event in world.events("start", following)} == {world.kept()[0].pid}
    assert world.check().violations == []


@pytest.mark.fault(46)
def test_a_coroutine_that_blocks_its_event_loop_is_given_up_and_the_others_are_released(world, figures):
    # Given
    world.keep(1)
    (worker,) = world.kept()
    siblings = world.call_many(tasks.wait_for_in_coroutine, [(str(world.folder / "go"),)] * 20)
    for id in siblings:
        world.wait_for_start(id)

    # When
    hung = world.call(tasks.block, 120.0, timeout=LIMIT)

    # Then
    task = world.wait_for(hung, STOP_WITHIN + 20, State.ERROR)
    figures.at_most("given up after the limit and", beyond(task), STOP_WITHIN + 2, "s")
    (world.folder / "go").touch()
    ended = [world.wait_for(id) for id in siblings]
    assert worker.process.poll() == RECYCLED
    figures.exactly("siblings done", len(ended), 20)
    figures.exactly("attempts that counted", sum(task.attempt for task in ended), 20)
