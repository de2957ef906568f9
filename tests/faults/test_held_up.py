"""Gates that let nobody pass hold up nobody who waits elsewhere; callers and workers never deadlock (faults 71 and 72)."""

import re
import time
from pathlib import Path

import pytest

from autotask.store import cancel
from autotask.store.connection import rows
from tests.faults import flow_state, flowing
from tests.faults.flowing import tasks
from tests.helpers import LONG, wait_until

WAITING = 20_000 if LONG else 2_000

CROWD = 8 if LONG else 4


@pytest.mark.fault(71, quick=True)
def test_a_full_limit_a_paused_task_and_a_closed_bucket_hold_up_no_other_task(world, figures):
    # Given: one task of a limit runs, and thousands wait behind it
    flowing.use_in(world)
    go, closed = world.folder / "go", world.folder / "closed"
    world.keep(2, "--threads=4")
    _run(world, "pause", "--task", tasks.two_at_a_time.name)
    crowd = world.start_calls("crowd", f"--file={go}", f"--closed={closed}", f"--crowd={WAITING}")
    wait_until(lambda: world.events("crowd"), 60, "the crowd")
    wait_until(closed.exists, what="the task that closes its bucket")
    waiting = world.until(lambda: _waiting_everywhere(world), 20, f"tasks at all gates; {flow_state.kinds(world)}")

    # When
    began = time.monotonic()
    others = world.start_calls("others", "--crowd=50", ready=False)
    wait_until(lambda: world.events("others"), 60, "the other calls")

    # Then: all others end while the crowd waits
    called = {id for event in world.events("others") for id in event.facts["ids"]}
    world.until(lambda: not any(map(world.is_live, called)), 60, "the end of the others")
    figures.record("others done after", time.monotonic() - began, "s")
    figures.at_least("tasks that waited meanwhile", _waiting_everywhere(world), waiting)
    assert not Path(go).exists()

    # When
    _run(world, "resume", "--task", tasks.two_at_a_time.name)
    for (id,) in rows(world.database, "SELECT id FROM autotask_live WHERE gate LIKE 'rate:%%'"):
        cancel.cancel(world.database, id)
    go.touch()
    for program in (crowd, others):
        program.finish()

    # Then
    world.drain(300)
    assert flow_state.problems(world.database) == []


def _run(world, *command):
    program = world.start("-m", "django", "autotask", *command)
    assert program.wait() == 0, program.output()


def _waiting_everywhere(world):
    """Return how many tasks are live, once some wait at each kind of gate and none passes that of the closed bucket."""
    sql = "SELECT 1 FROM autotask_bucket WHERE closed_until > clock_timestamp()"
    passed = "SELECT 1 FROM autotask_live WHERE name = %(name)s AND state IN (1, 2)"
    if not rows(world.database, sql) or rows(world.database, passed, {"name": tasks.close_bucket.name}):
        return 0
    gates = rows(world.database, "SELECT DISTINCT split_part(gate, ':', 1) FROM autotask_live WHERE state = 8")
    return world.live() if {"limit", "rate", "pause"} <= {gate for (gate,) in gates} else 0


@pytest.mark.fault(72)
def test_workers_and_callers_on_the_same_keys_never_deadlock(own_server, make_world, figures, lasting):
    # Given
    world = make_world(own_server())
    flowing.use_in(world)
    world.keep(CROWD, "--threads=2")
    callers = [world.start_calls("storm", "--rate=20", "--seconds=0.02", "--open=0.2") for _ in range(CROWD)]

    # When
    flow_state.watch(world, lasting)
    for caller in callers:
        caller.finish()

    # Then
    figures.record("calls", len(world.events("enqueued")) + len(world.events("undone")))
    figures.exactly("deadlocks", _deadlocks(world), 0)
    assert [event.facts for event in (*world.events("error"), *world.events("unknown"))] == []
    world.drain(120)
    figures.exactly("deadlocks until the end", _deadlocks(world), 0)
    figures.exactly("tasks done or cancelled", world.live(), 0)
    assert not [line for program in world.kept() for line in program.lines("(?i).*deadlock.*")]


def _deadlocks(world):
    """Return how many there were; print what the server says about them, with the statements of both sides."""
    count = rows(world.database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]
    if count:
        print("\n".join(re.findall(r"^.*ERROR:  deadlock detected\n(?:.*\n){,120}", world.server.log(), re.MULTILINE)))
    return count
