"""Answers that are lost, and a network that is cut, slow or bad (faults 19 to 24)."""

import time

import pytest

from autotask.store import enqueue, read
from autotask.store.connection import execute, rows
from autotask.task import State
from tests.faults.app import tasks
from tests.faults.network import Network, NoNetwork
from tests.helpers import wait_until

CLAIM = b"nextval('autotask_fence')"
OUTCOME = b"run_at, e.now - (e.ended_ago"
RETRY = b"SET state = 0, ready_at = NULL, attempt"
RELEASE = b"WHEN o.unknown THEN coalesce"
CALL = b"INSERT INTO autotask_task"


@pytest.mark.fault(19, quick=True)
def test_a_claim_whose_answer_was_lost_is_released_and_made_again(world, proxy, figures):
    # Given
    worker = world.worker()
    world.wait_for(world.call(tasks.note))

    # When
    proxy.lose_answer_to(CLAIM, with_rows=True)  # not to a further claim, after the first task
    began = time.monotonic()
    id = world.call(tasks.note)

    # Then
    started = world.wait_for_start(id)
    assert proxy.has_lost() and proxy.lost == 1
    figures.at_most("started after", started.at - began, 2.0, "s")
    task = world.wait_for(id)
    figures.exactly("executions", len(world.events("start", id)), 1)
    assert (task.attempt, task.lost) == (1, 0)
    assert "claimed for this worker without its knowledge" in worker.output()
    assert world.check().violations == []


@pytest.mark.fault(20, quick=True)
@pytest.mark.parametrize("task, statement, executions", [("note", OUTCOME, 1), ("fail_first", RETRY, 2)])
def test_an_outcome_whose_answer_was_lost_is_not_taken_for_a_late_one(
    world, proxy, figures, task, statement, executions
):
    # Given
    worker = world.worker()

    # When
    proxy.lose_answer_to(statement)
    id = world.call(getattr(tasks, task))

    # Then
    world.wait_for(id)
    wait_until(lambda: proxy.lost == 1, what="the loss")
    wait_until(lambda: "Can record outcomes again" in worker.output(), what="the second try")
    verdict = world.check()
    figures.exactly("executions beyond those needed", len(world.events("start", id)) - executions, 0)
    figures.exactly("outcomes refused", verdict.refused, 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert len(read.attempts(world.database, world.task(id).id)) == executions - 1
    assert verdict.violations == []


@pytest.mark.fault(20, quick=True)
def test_a_release_whose_answer_was_lost_releases_once(world, proxy):
    # Given
    worker = world.worker("--threads=1", options={"SHUTDOWN_GRACE": 5})
    id = world.call(tasks.wait_for, str(world.folder / "go"))
    world.wait_for_start(id)
    proxy.lose_answer_to(RELEASE)

    # When
    world.ledger.write("fault", pid=worker.pid, action="SIGTERM", seconds=60)
    worker.process.terminate()
    assert worker.wait(20) == 0

    # Then
    wait_until(lambda: proxy.lost == 1, what="the loss")
    assert (world.task(id).state, world.task(id).attempt) == (State.READY, 0)


@pytest.mark.fault(21, quick=True)
def test_a_call_whose_answer_was_lost_raises_and_the_task_is_there_once(world, proxy, figures):
    # Given: the first call. Later ones run a prepared statement, and only its PREPARE has these words.
    world.worker()
    proxy.lose_answer_to(CALL)

    # When
    caller = world.caller("--rate=20")
    wait_until(lambda: world.events("unknown"), what="a call that raises")
    calls = len(world.events("enqueued"))
    wait_until(lambda: len(world.events("enqueued")) > calls, what="a call that succeeds")
    caller.finish()

    # Then
    world.drain()
    figures.exactly("calls that raised", len(world.events("unknown")), 1)
    there = rows(world.database, "SELECT count(*) FROM autotask_result")[0][0]
    figures.exactly("tasks made by that call", there - len(world.events("enqueued")), 1)
    assert world.check().violations == []


@pytest.mark.fault(21, quick=True)
def test_a_commit_whose_answer_was_lost_has_enqueued_its_calls(world, proxy):
    # Given
    new = tasks.note.new_call((), {})
    connection = world.connect(port=proxy.port)
    execute(connection, "BEGIN")
    enqueue.insert(connection, new)
    proxy.lose_answer_to(b"COMMIT")

    # When
    with pytest.raises(Exception, match="connection|closed"):
        execute(connection, "COMMIT")

    # Then
    world.ledger.write("unknown")
    world.worker()
    world.wait_for(str(new.id))
    assert world.check().violations == []


@pytest.fixture
def network():
    try:
        with Network() as network:
            yield network
    except NoNetwork as error:
        pytest.skip(str(error))


@pytest.fixture
def remote(own_server, make_world, network):
    """A world with default settings, on a server that the network can reach."""
    server = own_server(listen_addresses="*")
    with (server.data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {network.host}/30 trust\n")
    server.sql("SELECT pg_reload_conf()")
    world = make_world(server)
    world.settings = {}
    yield world
    world.close()


def inside(world, network):
    """Start programs inside the network from now on."""
    world.host, world.before = network.host, network.command


def outside(world):
    """Start programs outside the network from now on."""
    world.host, world.before = "127.0.0.1", ()


@pytest.mark.fault(22)
def test_a_worker_that_is_cut_off_for_longer_than_its_lease_starts_nothing_and_overwrites_nothing(
    remote, network, figures
):
    # Given: a worker that runs a task and holds others behind it
    world = remote
    inside(world, network)
    cut_off = world.worker("--threads=1")
    for id in world.call_many(tasks.note, [()] * 100):
        world.wait_for(id)
    long, *waiting = world.call_many(tasks.wait_for, [(str(world.folder / "go"),)]) + world.call_many(
        tasks.note, [()] * 5
    )
    world.wait_for_start(long)

    # When
    world.ledger.write("fault", pid=cut_off.pid, action="cut", seconds=60)
    network.lose_everything()
    began = time.monotonic()
    outside(world)
    other = world.worker("--threads=4")
    wait_until(lambda: time.monotonic() - began > 0.75 * 30, 30, "the time at which it trusts its lease no more")
    (world.folder / "go").touch()

    # Then
    for id in (long, *waiting):
        world.wait_for(id, 60)
    figures.at_most("all done elsewhere after", time.monotonic() - began, 36.0, "s")
    wait_until(lambda: time.monotonic() - began > 45, 60, "the end of the cut")
    network.heal()
    wait_until(lambda: world.events("refused"), 60, "the refusal")
    wait_until(lambda: world.identity(cut_off.pid), 60, "a new identity")
    late = [event for event in world.events("start") if event.pid == cut_off.pid and event.at > began + 0.72 * 30]
    figures.exactly("started after 0.7 of the lease", len(late), 0)
    figures.exactly("outcomes refused", len(world.events("refused")), 1)
    world.wait_for(world.call(tasks.note))
    verdict = world.check()
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert verdict.violations == []
    assert not other.has_ended()


@pytest.mark.fault(23)
def test_a_connection_that_listens_and_is_dead_is_noticed(remote, network, figures):
    # Given
    world = remote
    inside(world, network)
    worker = world.worker()
    world.wait_for(world.call(tasks.note))
    [(port,)] = rows(
        world.database, "SELECT client_port FROM pg_stat_activity WHERE application_name = 'autotask claim'"
    )

    # When
    world.ledger.write("fault", pid=worker.pid, action="cut", seconds=60)
    network.lose(port)
    began = time.monotonic()
    id = world.call(tasks.note)

    # Then
    world.wait_for(id, 45)
    figures.at_most("a task waits for", time.monotonic() - began, 30.0, "s")
    assert world.identity(worker.pid), "its lease was renewed meanwhile"
    assert world.check().violations == []


@pytest.mark.fault(24)
def test_a_slow_and_bad_network_loses_nothing(world, proxy, figures, lasting):
    # Given
    world.settings.update(LEASE=10.0, HEARTBEAT=2.0, MAX_CRASHES=100)
    world.keep(2)
    caller = world.caller("--rate=20", "--mixed")

    # When
    world.ledger.write("fault", pid=None, action="network", seconds=lasting + 120)
    proxy.delay, proxy.breaking = (0.1, 0.05), 0.01  # each way, 200 ms for the round trip
    began = time.monotonic()
    world.until(lambda: time.monotonic() - began > lasting, lasting + 10, "the end of the time")
    done = rows(world.database, "SELECT count(*) FROM autotask_result")[0][0]
    proxy.delay, proxy.breaking = (0.0, 0.0), 0.0
    caller.finish()

    # Then
    world.drain()
    verdict = world.check()
    figures.record("tasks in a second", done / lasting)
    figures.record("unclear calls", len(world.events("unknown")))
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    assert verdict.violations == []
    assert not any(program.has_ended() for program in world.kept())
