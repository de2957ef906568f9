"""A synchronous standby that is away, so that no commit finishes (fault 65)."""

import re
import signal
import time

import psutil
import pytest

from autotask.store.connection import execute, rows
from autotask.task import State
from tests.faults.app import tasks
from tests.helpers import wait_until

SAID = re.compile(r"not answered for (\d+) s.*waits for a synchronous standby")


@pytest.fixture
def own_world(own_server, make_world):
    """A world on its own server; writes of the test itself do not wait for a standby."""
    world = make_world(own_server())
    execute(world.database, "SET synchronous_commit = local")
    yield world
    come_back(world)


def go_away(world):
    """Make commits wait for a standby that does not exist."""
    world.ledger.write("fault", pid=None, action="standby away", seconds=60)
    world.server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    world.server.sql("SELECT pg_reload_conf()")
    wait_until(lambda: rows(world.database, "SHOW synchronous_standby_names") == [("nobody",)], what="the reload")


def come_back(world):
    world.server.sql("ALTER SYSTEM RESET synchronous_standby_names")
    world.server.sql("SELECT pg_reload_conf()")


def waiting(world):
    """Return the roles of the workers' connections that wait for the standby."""
    found = rows(world.database, "SELECT application_name FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    return {name.removeprefix("autotask ") for (name,) in found}


@pytest.mark.fault(65)
def test_while_a_standby_is_away_the_log_says_so_and_then_everything_continues(own_world, figures, lasting):
    # Given: a worker that runs a task
    world = own_world
    worker = world.worker(options={"LEASE": 2})
    running = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(running)

    # When: for longer than its lease, neither a claim nor an outcome can be committed
    go_away(world)
    began = time.monotonic()
    called = world.call_many(tasks.note, [()] * 20)
    (world.folder / "go").touch()
    wait_until(lambda: {"claim", "recorder"} <= waiting(world), what="a claim and an outcome that wait")
    world.until(lambda: time.monotonic() - began > max(11.5, lasting), 60, "the end of the time without")
    away = time.monotonic() - began
    said = SAID.findall(worker.output())
    assert world.identity(worker.pid), "the lease has run out"
    come_back(world)
    back = time.monotonic()

    # Then
    world.wait_for(running)
    world.drain()
    figures.at_most("everything continues after", time.monotonic() - back, 3.0, "s")
    # The line of the last second may be missing.
    figures.at_least("log lines in five seconds", len(said) / ((away - 1) // 5), 1.0)
    figures.exactly("log lines beyond the expected", max(0, len(said) - int(away / 5)), 0)
    wait_until(lambda: "The database answers again" in worker.output(), what="the end of it in the log")
    figures.exactly("executions", len(world.events("start")), 1 + len(called))
    assert "ERROR" not in worker.output()
    assert world.check().violations == []


@pytest.mark.fault(65)
@pytest.mark.parametrize("kind", ["worker", "site"])
def test_a_worker_that_waits_for_a_standby_stops_when_asked_to(own_world, figures, kind):
    # Given: a task that does not finish, and a claim that waits
    world = own_world
    program = world.worker() if kind == "worker" else world.site()
    pid = program.pid if kind == "worker" else program.worker()
    running = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(running)
    go_away(world)
    called = world.call(tasks.note)
    wait_until(lambda: "claim" in waiting(world), what="a claim that waits")

    # When
    began = time.monotonic()
    if kind == "worker":
        world.kill(pid, signal.SIGTERM)
        assert program.wait(20) == 0
    else:
        world.ledger.write("fault", pid=pid, action="SIGTERM", seconds=60)
        program.finish()
        wait_until(lambda: not lives(pid), what="the end of the companion")
    figures.at_most("gone after the grace and", time.monotonic() - began - world.settings["SHUTDOWN_GRACE"], 3.0, "s")
    come_back(world)
    (world.folder / "go").touch()

    # Then
    world.worker()
    world.drain()
    assert [world.task(id).state for id in (running, called)] == [State.DONE] * 2
    assert world.check().violations == []


@pytest.mark.fault(65)
def test_a_worker_starts_while_a_standby_is_away_and_can_be_stopped(own_world, figures):
    # Given: its entry in the register waits for no disk, and so for no standby
    world = own_world
    go_away(world)
    worker = world.worker()
    assert world.identity(worker.pid)

    # When
    began = time.monotonic()
    worker.signal(signal.SIGTERM)

    # Then
    assert worker.wait(20) == 0
    figures.at_most("gone after the grace and", time.monotonic() - began - world.settings["SHUTDOWN_GRACE"], 3.0, "s")


def lives(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
