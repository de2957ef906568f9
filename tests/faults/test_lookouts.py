"""Workers of one host of which a few listen for all, when some of them are busy, killed or paused."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from autotask.processes.lookouts import POSTS
from autotask.store import listening, many, notify
from autotask.store.connection import execute, rows
from tests.faults.app import tasks
from tests.helpers import patient, wait_until

#: More workers than keep a lookout.
WORKERS = POSTS + 3

#: Seconds until idle workers rest.
TO_REST = 40.0

#: Seconds until a word has reached all workers, far less than until they look by themselves.
SOON = 8.0


@pytest.fixture
def rest():
    """The folder for the places where workers meet. The names of sockets are short, so that of pytest would be too long."""
    with tempfile.TemporaryDirectory() as folder:
        yield folder


@pytest.fixture
def crowd(world, rest):
    """Idle workers with one thread each, of which only those that listen hear of anything within a minute."""
    return start_crowd(world, rest)


def start_crowd(world, rest):
    world.environment["TMPDIR"] = str(rest)
    world.settings |= {"POLL_INTERVAL": 60.0, "LEASE": 30.0, "HEARTBEAT": 1.0}
    programs = [world.worker("--threads=1", ready=False) for _ in range(WORKERS)]
    wait_until(lambda: len(resting(rest)) == WORKERS - POSTS, TO_REST, "workers that rest")
    assert len(lookouts(world)) == POSTS
    return {program.pid: program for program in programs}


def lookouts(world):
    """Return the process ids of the workers that can be handed tasks by NOTIFY."""
    return {pid for (pid,) in rows(world.database, "SELECT pid FROM autotask_worker WHERE line <> ''")}


def resting(folder):
    """Return the sockets of the workers that rest."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".rest")]


def call_one_by_one(world, count, file):
    """Call tasks that wait for a file, as processes do that notify of each call."""
    for _ in range(count):
        new = tasks.wait_for.new_call((str(file),), {})
        many.insert_many(world.database, [new])
        world.ledger.write("enqueued", id=new.id)
        notify.send(world.database, ("default", "thread"))
        time.sleep(2 * notify.NOTIFY_INTERVAL)


def wait_for_starts(world, count):
    began = time.monotonic()
    wait_until(lambda: len(world.events("start")) >= count, SOON, "the start of all tasks")
    print(f"all begun after {time.monotonic() - began:.3f} s")


def test_all_workers_hear_of_many_tasks(world, crowd, tmp_path):
    # When
    file = tmp_path / "file"
    world.call_many(tasks.wait_for, [(str(file),)] * WORKERS)

    # Then
    wait_for_starts(world, WORKERS)
    file.touch()
    world.drain()
    assert world.check().violations == []


def test_a_worker_that_rests_hears_of_a_task_for_which_those_that_listen_have_no_room(world, crowd, tmp_path):
    # When
    file = tmp_path / "file"
    call_one_by_one(world, WORKERS, file)

    # Then
    wait_for_starts(world, WORKERS)
    assert len({event.pid for event in world.events("start")}) == WORKERS
    file.touch()
    world.drain()
    assert world.check().violations == []


def test_others_listen_instead_of_workers_that_were_killed(world, crowd, rest, tmp_path):
    # When
    killed = lookouts(world)
    for pid in killed:
        world.kill(pid)

    # Then
    left = set(crowd) - killed
    wait_until(lambda: lookouts(world) - killed == left, SOON, "others that listen")
    wait_until(lambda: not resting(rest), SOON, "the end of their rest")
    file = tmp_path / "file"
    call_one_by_one(world, len(left), file)
    wait_for_starts(world, len(left))
    file.touch()
    world.drain()
    assert world.check().violations == []


def test_others_listen_instead_of_workers_that_are_busy(world, crowd, tmp_path):
    # Given
    file = tmp_path / "file"
    call_one_by_one(world, POSTS, file)
    wait_for_starts(world, POSTS)

    # Then
    busy = {event.pid for event in world.events("start")}
    wait_until(lambda: set(crowd) - busy <= lookouts(world), SOON, "others that listen")
    file.touch()
    world.drain()


def test_workers_that_rest_may_be_killed(world, crowd, rest, tmp_path):
    # Given
    killed = set(crowd) - lookouts(world)
    for pid in killed:
        world.kill(pid)
    wait_until(lambda: all(crowd[pid].has_ended() for pid in killed), what="their end")

    # When
    file = tmp_path / "file"
    world.call_many(tasks.wait_for, [(str(file),)] * POSTS)

    # Then
    wait_for_starts(world, POSTS)
    wait_until(lambda: not resting(rest), SOON, "the end of the sockets that nobody reads")
    file.touch()
    world.drain()


#: The sessions of lookouts hold one lock; those of workers that rest have another one that keeps calls away.
_SESSIONS_OF_LOOKOUTS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'autotask claim' AND datname = current_database()
    AND 1 = (SELECT count(*) FROM pg_locks l WHERE l.pid = pg_stat_activity.pid AND l.locktype = 'advisory')
"""


def test_others_listen_instead_of_workers_that_cannot_connect(world, crowd, tmp_path):
    # Given: no new connections, and workers that rest and keep theirs
    deaf = lookouts(world)
    execute(world.database, "UPDATE pg_database SET datallowconn = false WHERE datname = current_database()")
    try:
        assert len(rows(world.database, _SESSIONS_OF_LOOKOUTS)) == POSTS

        # Then
        left = set(crowd) - deaf
        wait_until(lambda: lookouts(world) == left, SOON, "others that listen")
        file = tmp_path / "file"
        call_one_by_one(world, len(left), file)
        wait_for_starts(world, len(left))
    finally:
        execute(world.database, "UPDATE pg_database SET datallowconn = true WHERE datname = current_database()")
    file.touch()
    world.drain()


def test_a_server_that_takes_the_place_of_another_one_is_another_database(own_server, make_world):
    # Given: as a standby is, or a copy that was restored
    world = make_world(own_server())
    before = listening.database(world.database)
    assert listening.database(world.connect(options="-c timezone=Asia/Tokyo -c datestyle=german")) == before

    # When
    world.server.restart()

    # Then
    assert listening.database(world.database) != before


def test_all_workers_hear_of_tasks_soon_after_a_restart_of_the_server(own_server, make_world, rest, tmp_path):
    # Given
    world = make_world(own_server())
    start_crowd(world, rest)

    # When
    world.server.restart()

    # Then
    file = tmp_path / "file"
    call_one_by_one(world, WORKERS, file)
    wait_for_starts(world, WORKERS)
    file.touch()
    world.drain()
    assert world.check().violations == []


def test_each_call_begins_soon_while_one_lookout_after_the_other_is_killed(world, crowd):
    # Given
    caller = world.caller("--rate=10", "--seconds=0.05")
    wait_for_starts(world, 1)

    # When: until as many are left as there are posts
    for _ in range(WORKERS - POSTS):
        world.kill(world.random.choice(sorted(lookouts(world) & alive(crowd))))
        wait_for_starts(world, len(world.events("start")) + 5)
        wait_until(lambda: len(lookouts(world) & alive(crowd)) == POSTS, SOON, "another one that listens")

    # Then
    caller.finish()
    all_began_soon(world)


def test_each_call_begins_soon_when_all_lookouts_are_killed_at_once(world, crowd):
    # Given
    caller = world.caller("--rate=10", "--seconds=0.05")
    wait_for_starts(world, 1)

    # When
    for pid in lookouts(world):
        world.kill(pid)
    wait_for_starts(world, len(world.events("start")) + 10)

    # Then
    caller.finish()
    all_began_soon(world)


@pytest.fixture
def small_disk():
    """A folder in which few files have room."""
    disk = tempfile.mkdtemp()
    mount = ["mount", "-t", "tmpfs", "-o", "nr_inodes=40", "tmpfs", disk]
    if os.geteuid() != 0 or subprocess.run(mount).returncode:
        os.rmdir(disk)
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)
    os.rmdir(disk)


def test_others_listen_instead_of_lookouts_that_were_killed_where_the_disk_is_full(world, small_disk, tmp_path):
    # Given
    crowd = start_crowd(world, small_disk)
    with pytest.raises(OSError, match="No space left"):
        for number in range(100):
            Path(small_disk, f"ballast{number}").touch()

    # When
    killed = lookouts(world)
    for pid in killed:
        world.kill(pid)

    # Then
    left = set(crowd) - killed
    wait_until(lambda: lookouts(world) - killed == left, SOON, "others that listen")
    file = tmp_path / "file"
    call_one_by_one(world, len(left), file)
    wait_for_starts(world, len(left))
    file.touch()
    world.drain()
    assert world.check().violations == []
    assert not any(crowd[pid].has_ended() for pid in left)


def alive(crowd):
    """Return the process ids of the workers that are alive."""
    return {pid for pid, program in crowd.items() if not program.has_ended()}


def all_began_soon(world):
    """Check that no call has waited until a worker looked by itself."""
    wait_until(lambda: not world.live(), SOON, "the end of all tasks")
    called = {event.id: event.wall for event in world.events("enqueued")}
    begun = {event.id: event.wall for event in reversed(world.events("start"))}
    assert max(begun[id] - at for id, at in called.items()) < patient(SOON)
    assert world.check().violations == []
