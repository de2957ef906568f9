"""PostgreSQL restarts, is down, out of connections or disk, read-only, or a promoted standby (16 to 18, 25 to 28)."""

import contextlib
import os
import re
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from autotask.store.connection import rows
from tests.faults.app import tasks
from tests.faults.postgres import Server
from tests.faults.proxy import Proxy
from tests.faults.world import quantile
from tests.helpers import wait_until


@pytest.fixture
def own_world(own_server, make_world):
    """A world on its own server, to break."""
    return make_world(own_server())


def down(world, seconds):
    """Note a fault of all processes that takes some seconds."""
    world.ledger.write("fault", pid=None, action="database", seconds=seconds)


def cpu(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def warnings(program):
    return [line for line in program.output().splitlines() if "WARNING" in line or "ERROR" in line]


@pytest.mark.fault(16, quick=True)
def test_nothing_is_lost_when_postgresql_restarts_again_and_again(own_world, figures, lasting):
    # Given
    world = own_world
    world.keep(2)
    caller = world.caller("--rate=20", "--seconds=0.1", "--mixed")

    # When
    resumed = []
    for _ in range(max(2, int(lasting / 12))):
        time.sleep(world.random.uniform(0.5, min(12.0, lasting / 2)))
        down(world, 8)
        world.server.restart("immediate")
        up = time.monotonic()
        world.until(lambda up=up: [e for e in world.events("start") if e.at > up], 20, "the next start")
        resumed.append(min(event.at for event in world.events("start") if event.at > up) - up)
    caller.finish()

    # Then
    world.drain()
    verdict = world.check()
    figures.record("restarts", len(resumed))
    figures.record("calls", verdict.calls)
    figures.record("unclear calls", len(world.events("unknown")))
    figures.exactly("lost", len(verdict.lost), 0)
    figures.exactly("overwritten", len(verdict.overwritten), 0)
    figures.at_most("work continues after", max(resumed), 3.0, "s")
    assert verdict.violations == []
    assert not any(program.has_ended() for program in world.kept())


@pytest.mark.fault(17)
def test_postgresql_may_be_down_for_long(own_world, figures, lasting):
    # Given
    world = own_world
    worker = world.worker()
    running = world.call_many(tasks.note, [(3.0,)] * 4)
    wait_until(lambda: len(world.events("start")) == 4, what="the start of the tasks")
    caller = world.caller("--rate=2")

    # When
    down(world, lasting + 10)
    world.server.stop("immediate")
    stopped, used, said = time.monotonic(), cpu(worker.pid), len(warnings(worker))
    time.sleep(lasting)
    used, said = cpu(worker.pid) - used, len(warnings(worker)) - said
    lasted = time.monotonic() - stopped
    world.server.start()
    up = time.monotonic()

    # Then
    world.until(lambda: [e for e in world.events("start") if e.at > up], 30, "the next start")
    resumed = min(event.at for event in world.events("start") if event.at > up) - up
    caller.finish()
    world.drain()
    figures.at_most("calls fail within", max(e.facts["seconds"] for e in world.events("unknown")), 5.0, "s")
    figures.at_most("log lines in five seconds", said / (lasted / 5 + 1), 1.0)
    figures.at_most("processor used", 100 * used / lasted, 2.0, "%")
    figures.at_most("work continues after", resumed, 5.0, "s")
    assert not worker.has_ended()
    # Their outcomes waited in memory, and no worker has rescued the tasks meanwhile.
    assert [world.task(id).attempt for id in running] == [1] * 4
    assert world.check().violations == []


@pytest.mark.parametrize(
    "role",
    [
        pytest.param("claim", marks=pytest.mark.fault(18, quick=True)),
        pytest.param("recorder", marks=pytest.mark.fault(18)),
        pytest.param("services", marks=pytest.mark.fault(18)),
    ],
)
def test_each_connection_of_a_worker_is_replaced_when_it_is_terminated(world, figures, role):
    # Given
    worker = world.worker(options={"POLL_INTERVAL": 30})
    world.wait_for(world.call(tasks.note))
    latency = []

    # When
    killed = rows(
        world.database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %(name)s "
        "AND datname = current_database()",
        {"name": f"autotask {role}"},
    )
    began = time.monotonic()

    # Then
    assert killed == [(True,)]
    world.wait_for(world.call(tasks.note), 10)
    figures.at_most(f"{role}: a task runs again after", time.monotonic() - began, 1.0, "s")
    world.until(lambda: connected(world) >= 3 or role == "recorder", 10, "three connections")
    wait_until(lambda: not world.live(), what="the end of it")
    for _ in range(5):
        time.sleep(0.3)  # until the worker sleeps; a process sends at most one wake-up in a tenth of a second
        enqueued = time.monotonic()
        latency.append(world.wait_for_start(world.call(tasks.note)).at - enqueued)
    figures.at_most(f"{role}: wake-up afterwards", 1000 * quantile(latency, 0.5), 50.0, "ms")
    assert not worker.has_ended()
    world.drain()
    assert world.check().violations == []


def connected(world):
    sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'autotask %%' AND datname = current_database()"
    return rows(world.database, sql, {})[0][0]


@pytest.mark.fault(25)
def test_when_no_connection_is_left_workers_wait_and_the_site_continues(own_server, make_world, figures):
    # Given: a connected site, and all other connections taken by other programs
    world = make_world(own_server(max_connections=12, superuser_reserved_connections=1, reserved_connections=0))
    world.server.sql("CREATE ROLE site LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO site;"
                     "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO site", world.name)  # fmt: skip
    administrator = world.database  # a superuser, for whom a connection is reserved
    world.user = "site"
    caller = world.caller("--rate=10")
    worker = world.worker()
    taken = take_all_connections(world)
    world.ledger.write("fault", pid=None, action="database", seconds=60)
    for role in ("claim", "recorder", "services"):
        rows(
            administrator,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'autotask {role}'",
        )
    taken += take_all_connections(world)
    wait_until(lambda: re.search("too many clients|remaining connection slots", worker.output()), what="the refusal")
    calls = len(world.events("enqueued"))
    wait_until(lambda: len(world.events("enqueued")) > calls + 10, what="calls meanwhile")
    figures.exactly("calls that failed", len(world.events("unknown")), 0)

    # When
    for connection in taken:
        connection.close()
    freed = time.monotonic()

    # Then
    world.until(lambda: [e for e in world.events("start") if e.at > freed], 20, "the next start")
    figures.at_most("work continues after", time.monotonic() - freed, 7.0, "s")
    caller.finish()
    world.drain()
    figures.exactly("lost", len(world.check().lost), 0)
    assert world.check().violations == []


def take_all_connections(world):
    taken = []
    try:
        while True:
            taken.append(world.connect())
    except Exception:
        return taken


@pytest.mark.fault(26)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_when_the_disk_is_full_nothing_that_was_acknowledged_is_lost(tmp_path, own_server, make_world, figures):
    # Given: a server on a disk of 96 MB
    disk = subprocess.check_output(["mktemp", "-d", "/tmp/autotask-disk-XXXXXX"], text=True).strip()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", disk])
    if mounted.returncode:
        os.rmdir(disk)
        pytest.skip("no disk can be mounted here")
    try:
        folder = os.path.join(disk, "server")
        os.mkdir(folder)
        os.chmod(disk, 0o755)
        world = make_world(own_server(folder=Path(folder), min_wal_size="8MB", max_wal_size="16MB"))
        worker = world.worker()
        caller = world.caller("--rate=50")
        wait_until(lambda: len(world.events("start")) > 10, what="some work")

        # When
        down(world, 120)
        ballast = os.path.join(disk, "ballast")
        with open(ballast, "wb") as file, pytest.raises(OSError):
            while True:
                file.write(bytes(65536))
                file.flush()
        world.until(lambda: world.events("unknown"), 60, "a call that fails")
        told = world.events("unknown")[0].facts["error"]
        time.sleep(2)
        os.unlink(ballast)
        with contextlib.suppress(AssertionError):
            world.server.start()  # without room for WAL, PostgreSQL has exited
        up = time.monotonic()

        # Then
        world.until(lambda: [e for e in world.events("start") if e.at > up], 30, "the next start")
        figures.at_most("work continues after", time.monotonic() - up, 10.0, "s")
        wait_until(lambda: [e for e in world.events("enqueued") if e.at > up], what="a call that succeeds")
        caller.finish()
        world.drain()
        figures.exactly("lost", len(world.check().lost), 0)
        assert world.check().violations == []
        assert "Error" in told
        assert not worker.has_ended()
        world.close()
        world.server.remove()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        os.rmdir(disk)


@pytest.mark.fault(27)
def test_a_database_that_is_read_only_for_a_while_is_waited_for(own_world, figures):
    # Given
    world = own_world
    worker = world.worker()
    running = world.call_many(tasks.note, [(1.0,)] * 4)
    wait_until(lambda: len(world.events("start")) == 4, what="the start of the tasks")
    world.ledger.write("fault", pid=None, action="database", seconds=30)

    # When
    world.server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    world.server.sql("SELECT pg_reload_conf()")
    wait_until(lambda: warnings(worker), what="a word about it")
    time.sleep(world.settings["LEASE"])
    said = len(warnings(worker))
    world.server.run("psql", "-Xq", "-h", "127.0.0.1", "-p", world.server.port, "-U", "postgres",
                     "-c", "SET default_transaction_read_only = off",
                     "-c", "ALTER SYSTEM RESET default_transaction_read_only",
                     "-c", "SELECT pg_reload_conf()")  # fmt: skip
    writable = time.monotonic()

    # Then
    for id in running:
        assert world.wait_for(id).attempt == 1
    world.wait_for(world.call(tasks.note))
    figures.at_most("work continues after", time.monotonic() - writable, 5.0, "s")
    figures.at_most("log lines", said, world.settings["LEASE"] / 5 + 2)
    assert not worker.has_ended()
    assert "Traceback" not in worker.output()
    assert world.check().violations == []


@pytest.mark.fault(28)
def test_a_synchronous_standby_that_is_promoted_has_everything(own_server, make_world, figures):
    # Given
    primary = own_server(wal_level="replica", max_wal_senders=4)
    world = make_world(primary)
    standby = Server()
    try:
        standby.follow(primary)
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.sql("SELECT pg_reload_conf()")
        wait_until(lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync", what="the standby")
        with Proxy(primary.port, world.random) as proxy:
            world.port = proxy.port
            world.keep(2)
            caller = world.caller("--rate=20", "--seconds=0.1", "--mixed")
            wait_until(lambda: len(world.events("start")) > 20, what="some work")

            # When
            down(world, 15)
            primary.stop("immediate")
            proxy.target = standby.port
            proxy.cut()
            standby.promote()
            world.server = standby
            up = time.monotonic()

            # Then
            world.until(lambda: [e for e in world.events("start") if e.at > up], 30, "the next start")
            figures.at_most("work continues after", time.monotonic() - up, 7.0, "s")
            caller.finish()
            world.drain()
            figures.record("calls", world.check().calls)
            figures.exactly("lost", len(world.check().lost), 0)
            assert world.check().violations == []
            world.close()
    finally:
        standby.remove()
