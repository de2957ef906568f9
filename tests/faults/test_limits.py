"""Limits under kills, stalls, restarts and cut connections (faults 67 to 69)."""

import time

import pytest

from autotask.store.connection import rows
from tests.faults import flow_state, flowing, history
from tests.helpers import wait_until


def prepare(world, workers=3):
    flowing.use_in(world)
    world.keep(workers, "--threads=4")
    # More calls than the limits let through, so that something is held all the time.
    return [world.start_calls("limits", "--threads=2", "--rate=12", "--seconds=0.15") for _ in range(2)]


def prove(world, callers, figures):
    """All that must be true after the faults."""
    for caller in callers:
        caller.finish()
    world.until(lambda: not world.live(), 120, f"the end of all tasks; {flow_state.kinds(world)}")
    verdict = world.check()
    executions = history.executions(world.ledger.read(), flow_state.lost(world))
    peaks = history.peaks(executions, flow_state.flows(world))
    figures.record("calls", verdict.calls)
    figures.record("executions", verdict.executions)
    figures.at_least("limits that were reached", sum(peak.found == peak.most for peak in peaks), len(peaks) / 2)
    figures.exactly("limits exceeded", sum(peak.found > peak.most for peak in peaks), 0)
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert verdict.violations == []
    wait_until(lambda: not flow_state.marks(world), what="the end of the last mark")


def cause(world, seconds, fault):
    """Cause a fault again and again, and look at the tables meanwhile; return how many there were."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        flow_state.watch(world, world.random.uniform(0.5, 1.5))
        fault()
        count += 1
    return count


@pytest.mark.fault(67, quick=True)
def test_a_limit_holds_and_nothing_leaks_when_workers_are_killed(world, figures, lasting):
    # Given
    callers = prepare(world)

    # When
    kills = cause(world, lasting, lambda: world.kill(world.random.choice(world.kept()).pid))

    # Then
    figures.record("kills", kills)
    prove(world, callers, figures)
    figures.at_least("tasks that lost their worker", len(flow_state.lost(world)), 1)


@pytest.mark.fault(68)
def test_a_limit_holds_when_workers_are_paused_for_longer_than_their_leases(world, figures, lasting):
    # Given
    callers = prepare(world)

    def stall():
        victims = [program.pid for program in world.random.sample(world.kept(), 2)]
        world.stall(victims, world.settings["LEASE"] + world.random.uniform(0.5, 1.5))

    # When
    stalls = cause(world, lasting, stall)

    # Then
    figures.record("stalls", 2 * stalls)
    prove(world, callers, figures)
    figures.record("outcomes refused", len(world.events("refused")))
    figures.at_least("claims lost", len(flow_state.lost(world)), 1)


@pytest.mark.fault(69)
def test_a_limit_holds_when_postgresql_restarts_and_connections_are_cut(own_server, make_world, figures, lasting):
    # Given
    world = make_world(own_server())
    callers = prepare(world)

    def restart_or_cut():
        world.ledger.write("fault", pid=None, action="database", seconds=8)
        if world.random.random() < 0.3:
            world.server.restart("immediate")
        else:
            sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'autotask%%'"
            rows(world.database, sql)

    # When
    faults = cause(world, lasting, restart_or_cut)

    # Then
    figures.record("restarts and cuts", faults)
    prove(world, callers, figures)
    assert not any(program.has_ended() for program in world.kept())


@pytest.mark.fault(67)
def test_workers_that_are_killed_one_after_the_other_leave_a_limit_with_all_its_slots(world, figures):
    """Each of them dies with all slots of the limit."""
    # Given
    flowing.use_in(world)
    callers = [world.start_calls("limits", "--rate=30", "--seconds=0.5") for _ in range(2)]
    wait_until(lambda: len(world.events("enqueued")) > 100, 60, "some calls")
    for caller in callers:
        caller.finish()

    # When
    for _ in range(5):
        worker = world.worker("--threads=8")
        begun = len(world.events("start"))
        wait_until(lambda begun=begun: len(world.events("start")) > begun + 3, what="some starts")
        world.kill(worker.pid)

    # Then
    world.keep(2, "--threads=8")
    prove(world, [], figures)
