"""Everything through poolers, which share sessions between transactions or keep them (faults 29 and 66)."""

import json
import statistics
import time

import pytest

from autotask.store.connection import rows
from tests.faults.app import tasks
from tests.faults.poolers import Pooler
from tests.helpers import wait_until

SHARED = "pgbouncer, transactions"
LISTENS = "EXISTS (SELECT pg_listening_channels())"
KEPT = ("pgbouncer, sessions", "pgpool-II")


@pytest.fixture
def through(world):
    """Put a pooler before the server of the world."""
    started = []

    def start(kind):
        started.append(Pooler(kind, world.server))
        world.port = started[-1].port
        return started[-1]

    yield start
    try:
        world.close()
    finally:
        for pooler in started:
            pooler.close()


def latencies(world, number, pause):
    """Make calls one by one, and return for each the seconds until its start."""
    waits = []
    for _ in range(number):
        time.sleep(pause)
        called = time.monotonic()
        waits.append(world.wait_for_start(world.call(tasks.note)).at - called)
    return waits


def results(world):
    """Return how long a program with a companion has waited for results."""
    program = world.start("-m", "tests.faults.waiter", "5")
    world.companion(program)
    program.process.stdin.write(b"\n")
    program.process.stdin.flush()
    wait_until(lambda: program.output().rstrip().endswith("}") or program.has_ended(), 60, "its last word")
    found = json.loads(program.output().splitlines()[-1])
    program.finish()
    return found


def clean(output):
    return "WARNING" not in output.replace("WARNING tests.faults.app.tasks.fail_first", "") and "ERROR" not in output


@pytest.mark.fault(29, quick=True)
def test_everything_works_through_a_pooler_of_transactions(world, through, figures, lasting):
    # Given
    through(SHARED)
    worker = world.worker(options={"POLL_INTERVAL": 1})
    caller = world.caller("--rate=20", "--mixed")

    # When
    wait_until(lambda: len(world.events("enqueued")) > 60, 30, "some calls")
    caller.finish()
    world.drain()
    waits = latencies(world, 5 if lasting > 5 else 2, 1.2)  # until its sleep is longest
    world.drain()

    # Then
    figures.at_most("start after the call", max(waits), 1.2, "s")
    figures.exactly("log lines about polling", worker.output().count("looking for work by polling"), 1)
    figures.exactly("errors about prepared statements", worker.output().count("prepared statement"), 0)
    figures.exactly("unclear calls", len(world.events("unknown")), 0)
    figures.exactly(
        "sessions with settings of a worker", altered(world, "current_setting('statement_timeout') = '10s'"), 0
    )
    figures.exactly("sessions that listen", altered(world, LISTENS), 0)
    assert clean(worker.output())
    assert world.check().violations == []


@pytest.mark.fault(29)
def test_results_come_through_a_pooler_of_transactions(world, through, figures):
    # When
    through(SHARED)
    waited = results(world)

    # Then
    figures.at_most("wait()", max(waited["wait"][1:]), 1.5, "s")
    figures.at_most("await_result()", max(waited["await"][1:]), 1.5, "s")
    # A process that waits for results detects the pooler with its first one.
    figures.at_most("sessions that listen", altered(world, LISTENS), 1)
    world.drain()
    assert world.check().violations == []


def altered(world, condition):
    """Return the number of sessions of the pooler with a condition."""
    connections = [world.connect(port=world.port) for _ in range(10)]
    for connection in connections:
        connection.set_autocommit(False)  # so that each of them has another session
    return sum(len(rows(connection, f"SELECT 1 WHERE {condition}")) for connection in connections)


@pytest.mark.fault(66)
@pytest.mark.parametrize("kind", KEPT)
def test_through_a_pooler_that_keeps_sessions_workers_are_notified_at_once(world, through, figures, kind):
    # Given
    through(kind)
    worker = world.worker(options={"POLL_INTERVAL": 30})
    caller = world.caller("--rate=20", "--mixed")
    wait_until(lambda: len(world.events("enqueued")) > 60, 30, "some calls")
    caller.finish()
    world.drain()

    # When
    waits = latencies(world, 7, 0.4)
    waited = results(world)
    world.drain()

    # Then
    figures.at_most("start after the call", 1000 * statistics.median(waits), 50.0, "ms")
    figures.at_most("wait()", 1000 * statistics.median(waited["wait"]), 50.0, "ms")
    figures.at_most("await_result()", 1000 * statistics.median(waited["await"]), 50.0, "ms")
    figures.exactly("log lines about polling", worker.output().count("by polling"), 0)
    assert clean(worker.output())
    assert world.check().violations == []
