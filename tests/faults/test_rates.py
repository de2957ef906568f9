"""Rates over several workers, under kills and stalls, and after RateLimited (faults 73 and 74)."""

import time

import pytest

from autotask.task import State
from tests.faults import audit, flowing, history
from tests.faults.flowing import tasks
from tests.helpers import wait_until


@pytest.mark.fault(73, quick=True)
def test_a_rate_is_never_exceeded_when_workers_are_killed_and_paused(own_server, make_world, figures, lasting):
    # Given
    world = make_world(own_server(track_commit_timestamp="on"))
    audit.install(world.database)
    flowing.use_in(world)
    world.keep(3, "--threads=4")
    calls = world.start_calls("rated", f"--rate={2 * tasks.RATE}")

    # When
    end, stall = time.monotonic() + lasting, False
    while time.monotonic() < end:
        pause = time.monotonic() + world.random.uniform(0.5, 1.5)
        world.until(lambda pause=pause: time.monotonic() > pause, 5, "the next fault")
        victim = world.random.choice(world.kept())
        if stall:
            world.stall([victim.pid], world.settings["LEASE"] + 0.5)
        else:
            world.kill(victim.pid)
        stall = not stall
    calls.finish()
    world.until(lambda: not world.live(), 60 + 3 * lasting, "the end of all tasks")

    # Then
    admitted = [e.at for e in audit.entries(world.database) if (e.former, e.state) == (State.HELD, State.READY)]
    figures.record("tasks", len(admitted))
    figures.at_most("admitted in a second", history.most_in_a_second(admitted), tasks.RATE + tasks.BURST)
    # Tasks that were let through start a little later if the workers are busy or away, so starts may come closer together.
    figures.record("started in a second", history.most_in_a_second(event.wall for event in world.events("start")))
    assert world.check().violations == []


@pytest.mark.fault(74, quick=True)
def test_a_task_that_was_rate_limited_closes_its_bucket_for_all_workers(world, figures):
    # Given
    flowing.use_in(world)
    world.keep(3, "--threads=1")
    closed = world.folder / "closed"

    # When
    calls = world.start_calls("closing", f"--closed={closed}", "--crowd=30", "--seconds=3", ready=False)
    wait_until(closed.exists, what="the task that closes its bucket")
    world.until(lambda: not world.live(), 30, "the end of all tasks")
    calls.finish()

    # Then: what had passed before may still have run
    starts = sorted(event.at for event in world.events("start"))
    pause = max(later - earlier for earlier, later in zip(starts, starts[1:], strict=False))
    figures.at_least("seconds without a start", pause, 2.5)
    figures.exactly("attempts counted for it", sum(e.facts["attempt"] > 1 for e in world.events("start")), 0)
