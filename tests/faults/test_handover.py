"""Tasks that are handed over, when the companion or the calling process dies or is paused (faults 57 and 58)."""

import time

import pytest

from tests.acceptance import processes
from tests.faults.crashpoints import HANDOVER_POINTS
from tests.faults.world import quantile
from tests.helpers import wait_until


def hold(world, figures):
    """Wait until all tasks have finished, and return the verdict."""
    world.drain()
    verdict = world.check()
    figures.record("calls", verdict.calls)
    figures.record("executions", verdict.executions)
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    figures.exactly("run again without a reason", len(verdict.unexcused), 0)
    assert verdict.violations == []
    return verdict


def until_handed_over(world, point, action, seconds=0.0):
    """Make the next call that is handed over crash."""
    world.crashpoints.arm(point, action, seconds)
    world.until(lambda: not world.crashpoints.is_armed(point), 20, "a task to be handed over")


@pytest.mark.fault(57)
def test_nothing_is_lost_when_the_companion_that_is_handed_tasks_is_killed_again_and_again(world, figures, lasting):
    # Given: one companion that is killed, and so starts again after growing delays, and one that is not
    site = world.site()
    caller = world.caller("--companion", "--rate=20", "--seconds=0.05")
    world.companion(caller)

    # When
    end, kills, worker = time.monotonic() + lasting, 0, None
    while time.monotonic() < end:
        worker = world.companion(caller, other_than=worker, seconds=60)
        until_handed_over(world, "after handover commit", "sleep")
        time.sleep(world.random.uniform(0, 0.1))
        world.kill(worker)
        kills += 1

    # Then: even calls while there was no companion
    caller.finish()
    figures.record("kills", kills)
    hold(world, figures)
    recoveries = world.recoveries()
    if recoveries:
        figures.at_most("recovered after p99", quantile(recoveries, 0.99), 1.5, "s")
    assert not site.has_ended()


@pytest.mark.fault(58, quick=True)
@pytest.mark.parametrize("point", HANDOVER_POINTS)
def test_tasks_of_a_process_that_dies_before_handing_them_over_run_elsewhere(world, figures, point):
    # Given
    caller = world.caller("--companion", "--rate=10")
    worker = world.companion(caller)

    # When
    until_handed_over(world, point, "kill")
    world.ledger.write("unknown", seconds=0.0, error="the caller was killed")
    wait_until(lambda: not processes.is_alive(worker), what="the end of the companion")

    # Then: only the committed task runs, although no worker was notified
    world.worker()
    verdict = hold(world, figures)
    assert verdict.executions == verdict.calls + (1 if point.startswith("after") else 0)


@pytest.mark.fault(58)
def test_a_task_handed_over_seconds_late_runs_in_time_and_once(world, figures):
    # Given
    caller = world.caller("--companion", "--rate=10")
    world.companion(caller)

    # When
    until_handed_over(world, "after handover commit", "sleep", world.settings["LEASE"] + 1.5)
    began = time.monotonic()

    # Then
    world.until(lambda: not world.live(), 10, "the end of the task")
    figures.at_most("run after", time.monotonic() - began, 2.5, "s")
    called = len(world.events("enqueued"))
    world.until(lambda: len(world.events("enqueued")) > called + 5, 10, "the caller to go on")
    caller.finish()
    hold(world, figures)
