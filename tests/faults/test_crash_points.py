"""Every crash point, with everything that can happen there (fault 2)."""

import pytest

from tests.faults.crashpoints import ACTIONS, POINTS

#: Seconds that a paused worker sleeps beyond its lease.
BEYOND = 1.5

#: The points at which a worker holds tasks; the quick subset has only these, and only kills.
ESSENTIAL = [point for point in POINTS if point.split()[1] in ("claim", "outcome", "body", "word")]


def go_through(world, points, actions):
    """Make a worker crash at each point in each way, under load; return the verdict and the number of crashes."""
    crashes = 0
    world.keep(2)
    caller = world.caller("--rate=15", "--seconds=0.1", "--mixed")
    for action in actions:
        for point in points:
            world.crashpoints.arm(point, action, world.settings["LEASE"] + BEYOND)
            if point.split()[1] == "rescue":
                # There has to be something to rescue. This comes after the point is armed: the worker that has just started
                # looks for dead ones at once.
                world.crashpoints.arm("before body", "kill")
                world.until(lambda: not world.crashpoints.is_armed("before body"), 30, "a death to rescue from")
                crashes += 1
            world.until(lambda p=point: not world.crashpoints.is_armed(p), 30, f"{action} {point}")
            crashes += 1
            # The next crash waits until there are two workers again.
            world.until(
                lambda: all(world.identity(p.pid) for p in world.kept()), 30, f"two workers after {action} {point}"
            )
    caller.finish()
    world.drain()
    return world.check(), crashes


def report(world, figures, verdict, crashes):
    figures.record("calls", verdict.calls)
    figures.record("executions", verdict.executions)
    figures.record("outcomes refused", verdict.refused)
    figures.exactly("crashes / requested crashes", len(world.events("fault")) / crashes, 1)
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    figures.exactly("run again without a reason", len(verdict.unexcused), 0)
    assert verdict.violations == []


@pytest.mark.fault(2, quick=True)
def test_nothing_is_lost_wherever_a_worker_is_killed(world, figures):
    verdict, crashes = go_through(world, ESSENTIAL, ["kill"])
    report(world, figures, verdict, crashes)


@pytest.mark.fault(2)
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_lost_whatever_happens_to_a_worker_anywhere(world, figures, action):
    # A task may be touched by several of these crashes.
    world.settings["MAX_CRASHES"] = 100
    verdict, crashes = go_through(world, POINTS, [action])
    report(world, figures, verdict, crashes)
