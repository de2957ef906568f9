"""Unique keys under 16 concurrent callers, kills, rollbacks, cancellations and retries (fault 70)."""

import time
from collections import defaultdict

import pytest

from tests.faults import audit, flowing
from tests.helpers import wait_until

#: Seconds between a commit's own moment and that at which others see it.
UNSEEN = 0.25

CALLERS, THREADS = 4, 4


@pytest.fixture
def audited(own_server, make_world):
    """A world that records each change of a live task."""
    world = make_world(own_server(track_commit_timestamp="on"))
    audit.install(world.database)
    flowing.use_in(world, CLEAN_INTERVAL=1)
    return world


@pytest.mark.fault(70, quick=True)
def test_a_key_has_one_live_task_whoever_calls_dies_cancels_and_retries(audited, figures, lasting):
    # Given
    world = audited
    world.keep(2, "--threads=4")
    callers = [_caller(world) for _ in range(CALLERS)]

    # When
    end, kills = time.monotonic() + lasting, 0
    while time.monotonic() < end:
        pause = time.monotonic() + world.random.uniform(0.3, 1.0)
        world.until(lambda pause=pause: time.monotonic() > pause, 5, "the next kill")
        world.kill(world.random.choice(world.kept()).pid)
        victim = world.random.randrange(CALLERS)
        world.kill(callers[victim].pid)
        callers[victim] = _caller(world, ready=False)
        kills += 2
    for caller in callers:
        wait_until(lambda caller=caller: "ready" in caller.output(), what="the caller")
        caller.finish()
    world.drain()

    # Then
    record = audit.entries(world.database)
    tenures = audit.tenures(record)
    calls = world.events("called")
    figures.record("kills", kills)
    figures.at_least("calls", len(calls), 20 * lasting)
    figures.at_least("calls that got an earlier task", sum(e.facts["how"] == "created False" for e in calls), lasting)
    figures.exactly("two live tasks with one key", len(audit.conflicts(tenures)), 0)
    figures.exactly("calls without a task that was live", len(_strangers(calls, tenures)), 0)
    figures.exactly("tasks that exist although their call was undone", len(_undone(world, record)), 0)
    figures.exactly("tasks replaced after they had begun", len(audit.altered_too_late(record)), 0)
    assert world.events("error") == []
    assert [event for event in world.events("unknown") if event.facts["sqlstate"]] == []
    assert not [tenure for tenure in tenures if tenure.ended == float("inf")]


def _caller(world, **how):
    return world.start_calls("unique", f"--threads={THREADS}", "--rate=15", "--open=0.05", **how)


def _strangers(calls, tenures):
    """Return the calls whose task did not have the key at any moment of the call."""
    known = defaultdict(list)
    for tenure in tenures:
        known[tenure.id, tenure.key].append(tenure)

    def had_it(call):
        began, ended = call.facts["began"] - UNSEEN, call.facts["ended"] + UNSEEN
        return any(t.stored <= ended and t.ended >= began for t in known[call.id, call.facts["key"]])

    return [call for call in calls if not had_it(call)]


def _undone(world, record):
    stored = {entry.id for entry in record}
    return [event.id for event in world.events("undone") if event.facts["created"] and event.id in stored]


@pytest.mark.fault(70)
def test_an_open_call_with_a_key_holds_up_nobody_with_another_key(world, figures):
    # Given: a transaction that has called each kind of task with the first key
    flowing.use_in(world)
    world.worker("--threads=4")
    go = world.folder / "go"
    holder = world.start_calls("held open", f"--file={go}")
    wait_until(lambda: world.events("held"), what="the open calls")

    # When
    other = world.start_calls("each", ready=False)

    # Then
    wait_until(lambda: world.events("each"), what="calls with other keys")
    called = world.events("each")[0]
    world.until(lambda: not world.live(), 20, "the end of the others")
    figures.at_most("calls with other keys took", called.facts["seconds"], 1.0, "s")
    assert not go.exists()
    go.touch()
    for program in (holder, other):
        program.finish()
    world.drain()
    assert world.events("error") == world.events("unknown") == []
