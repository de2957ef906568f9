"""Processes that are paused for longer than their lease (faults 10 and 11)."""

import signal
import threading

import pytest

from autotask.task import State
from tests.faults.app import tasks
from tests.helpers import wait_until


@pytest.mark.fault(10)
def test_the_late_outcome_of_a_paused_worker_is_refused(world, figures):
    # Given: a worker that is paused while it runs tasks
    stalled = world.worker("--threads=4")
    ids = world.call_many(tasks.note, [(1.0,)] * 4)
    wait_until(lambda: len(world.events("start")) == 4, what="the start of the tasks")
    former = world.identity(stalled.pid)
    world.ledger.write("fault", pid=stalled.pid, action="stop", seconds=60)
    stalled.signal(signal.SIGSTOP)

    # When: another one finishes them before it continues
    other = world.worker("--threads=4", options={"LEASE": world.settings["LEASE"]})
    for id in ids:
        world.wait_for(id, 30)
    stalled.signal(signal.SIGCONT)

    # Then
    wait_until(lambda: len(world.events("refused")) == 4, what="the refusal")
    verdict = world.check()
    figures.exactly("functions that returned too late", sum(e.pid == stalled.pid for e in world.events("end")), 4)
    figures.exactly("outcomes refused", verdict.refused, 4)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert verdict.violations == []
    assert {event.pid for event in world.events("end") if event.fence in {world.task(i).fence for i in ids}} == {
        other.pid
    }
    wait_until(lambda: world.identity(stalled.pid), what="a new identity")
    assert world.identity(stalled.pid).id != former.id


@pytest.mark.fault(10)
def test_workers_that_are_paused_again_and_again_lose_and_overwrite_nothing(world, figures, lasting):
    # Given
    world.settings["MAX_CRASHES"] = 100
    world.keep(3)
    caller = world.caller("--rate=20", "--seconds=1", "--mixed")

    # When
    stalls = max(2, int(lasting / (world.settings["LEASE"] + 2)))
    for _ in range(stalls):
        victims = [program.pid for program in world.random.sample(world.kept(), 2)]
        world.stall(victims, world.settings["LEASE"] + world.random.uniform(0.5, 1.5))
    caller.finish()

    # Then
    world.drain()
    verdict = world.check()
    figures.record("stalls", 2 * stalls)
    figures.record("executions", verdict.executions)
    figures.record("outcomes refused", verdict.refused)
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert verdict.violations == []


@pytest.mark.fault(11)
def test_a_paused_companion_continues_under_a_new_name(world, figures):
    # Given
    site = world.site()
    guard, worker = site.guard(), site.worker()
    former = world.identity(worker).id
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    other = world.worker()

    # When
    stall = threading.Thread(target=world.stall, args=([guard, worker], world.settings["LEASE"] + 2))
    stall.start()
    wait_until(lambda: not [w for w in [world.identity(worker)] if w], what="the end of the lease")
    (world.folder / "go").touch()
    task = world.wait_for(id, 30)
    stall.join()

    # Then
    renewed = wait_until(lambda: world.identity(worker), what="a new identity")
    assert renewed.id != former
    assert (site.guard(), site.worker()) == (guard, worker)
    wait_until(lambda: world.events("refused"), what="the refusal")
    figures.exactly("runs of the task", task.attempt, 2)
    figures.exactly("outcomes refused", len(world.events("refused")), 1)
    assert not other.has_ended()
    world.wait_for(world.call(tasks.note))
    assert world.check().violations == []
    assert task.state is State.DONE
