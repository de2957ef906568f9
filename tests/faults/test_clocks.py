"""Wrong clocks, and schedulers that die or do not run (faults 16, 36, 37, 39 and 40)."""

import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from autotask.store.connection import execute, rows
from autotask.task import State
from tests.faults.app import tasks
from tests.faults.world import quantile
from tests.helpers import wait_until

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")

TICKING = {"FAULTS_APPS": "tests.faults.ticking"}


@pytest.fixture
def clock(tmp_path):
    """A clock that can be set; its variables are for the programs that use it."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/"))]
    if not found:
        pytest.skip("faketime is not installed")

    class Clock:
        # Anybody may read it: PostgreSQL may run as another account.
        file = Path(f"/tmp/autotask-clock-{tmp_path.name}-{time.monotonic_ns()}")
        variables = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

        def set(self, offset):
            scratch = self.file.with_suffix(".new")
            scratch.write_text(f"{offset}\n")
            scratch.chmod(0o644)
            scratch.rename(self.file)

    clock = Clock()
    clock.set("+0")
    yield clock
    clock.file.unlink()


def ticks(world):
    """Return ticks with tasks, and when these were inserted, as seconds."""
    return rows(
        world.database,
        "SELECT extract(epoch FROM scheduled_for)::float8, extract(epoch FROM created_at)::float8, state, "
        "extract(epoch FROM ended_at)::float8 FROM autotask_record WHERE schedule = 'faults.tick' ORDER BY 1",
    )


@pytest.mark.fault(36)
def test_the_clock_of_a_worker_does_not_matter(world, clock, figures):
    # Given
    clock.set("+3600")
    near = world.worker("--queues=another")
    far = world.worker(**TICKING, **clock.variables)
    wait_until(lambda: len(ticks(world)) >= 3, what="ticks")

    # When
    for offset in ("-3600", "+7200", "+0", "+3600"):
        clock.set(offset)
        seen = len(ticks(world))
        wait_until(lambda seen=seen: len(ticks(world)) >= seen + 3, what="ticks")
        id = world.call(tasks.note)
        world.wait_for(id)

    # Then
    found = ticks(world)
    steps = [round(b[0] - a[0], 3) for a, b in zip(found, found[1:], strict=False)]
    figures.exactly("ticks not exactly a second after the previous one", sum(step != 1.0 for step in steps), 0)
    figures.at_most("lateness p99", 1000 * quantile([made - tick for tick, made, *_ in found], 0.99), 300, "ms")
    assert world.identity(near.pid) and world.identity(far.pid)
    assert "lease of this worker had run out" not in far.output() + near.output()
    far.signal(signal.SIGTERM)
    assert far.wait(20) == 0


@pytest.mark.fault(37)
def test_a_jump_of_the_clock_of_the_database_makes_no_tick_twice(own_server, make_world, clock, figures):
    # Given
    server = own_server(environment=clock.variables)
    world = make_world(server)
    worker = world.worker(**TICKING)
    wait_until(lambda: len(ticks(world)) >= 3, what="ticks")

    # When
    world.ledger.write("fault", pid=None, action="clock", seconds=60)
    clock.set("+7200")
    seen = len(ticks(world))
    wait_until(lambda: len(ticks(world)) >= seen + 3, what="ticks after the jump forward")
    forward = ticks(world)
    clock.set("+6600")
    time.sleep(3)
    world.wait_for(world.call(tasks.note))

    # Then: the jump forward is made up for by one task, and the jump back makes nothing twice
    found = ticks(world)
    figures.exactly("duplicates", sum(n - 1 for n in Counter(tick for tick, *_ in found).values()), 0)
    gaps = [b[0] - a[0] for a, b in zip(forward, forward[1:], strict=False) if b[0] - a[0] > 2]
    figures.exactly("gaps", len(gaps), 1)
    assert gaps[0] == pytest.approx(7200, abs=5)
    assert not worker.has_ended()
    world.drain()
    assert [state for *_, state, _ in ticks(world) if State(state) is not State.DONE] == []


def assert_each_tick_is_one_task(world, figures):
    """Check that each second from the first tick to the last has one task, in time."""
    found = ticks(world)
    figures.record("ticks", len(found))
    figures.exactly("duplicates", sum(n - 1 for n in Counter(tick for tick, *_ in found).values()), 0)
    figures.exactly("missing", round(found[-1][0] - found[0][0]) + 1 - len(found), 0)
    return [made - tick for tick, made, *_ in found]


@pytest.mark.fault(39, quick=True)
def test_schedulers_that_are_being_killed_enqueue_each_tick_once(world, figures, lasting):
    # Given
    world.settings["MAX_CRASHES"] = 100
    world.keep(8 if lasting > 5 else 3, "--threads=1", **TICKING)

    # When
    end = time.monotonic() + lasting
    while time.monotonic() < end:
        pause = time.monotonic() + 1.0
        world.until(lambda pause=pause: time.monotonic() > pause, 5, "the next kill")
        world.kill(world.random.choice(world.kept()).pid)

    # Then
    lateness = assert_each_tick_is_one_task(world, figures)
    figures.at_most("lateness p99", 1000 * quantile(lateness, 0.99), 300, "ms")
    world.drain()
    assert {State(state) for *_, state, _ in ticks(world)} == {State.DONE}


@pytest.mark.fault(16, 39)
def test_a_database_that_crashes_again_and_again_loses_no_tick_and_doubles_none(
    own_server, make_world, figures, lasting
):
    # Given
    server = own_server()
    world = make_world(server)
    world.keep(3, "--threads=1", **TICKING)
    wait_until(lambda: len(ticks(world)) >= 2, what="ticks")

    # When
    for _ in range(max(1, int(lasting / 10))):
        world.ledger.write("fault", pid=None, action="restart", seconds=5)
        server.restart("immediate")
        seen = len(ticks(world))
        world.until(lambda seen=seen: len(ticks(world)) >= seen + 3, 30, "ticks after the crash")

    # Then
    lateness = assert_each_tick_is_one_task(world, figures)
    figures.record("lateness at most", round(1000 * max(lateness)))


@pytest.mark.fault(40, quick=True)
def test_ticks_missed_while_no_scheduler_ran_are_made_up_for_as_each_schedule_says(world, figures):
    # Given: schedules that no worker has served for ten minutes, and one for two hours
    apps = {"FAULTS_APPS": "tests.faults.away"}
    worker = world.worker(**apps)
    wait_until(lambda: len(rows(world.database, "SELECT 1 FROM autotask_schedule")) == 4, what="the registration")
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    execute(
        world.database,
        "UPDATE autotask_schedule SET next_tick = clock_timestamp() - "
        "CASE name WHEN 'faults.late' THEN interval '7200 s' ELSE interval '630 s' END",
    )

    # When
    world.worker(**apps)
    wait_until(
        lambda: (
            not rows(
                world.database, "SELECT 1 FROM autotask_schedule WHERE next_tick < clock_timestamp() OR held <> ''"
            )
        ),
        20,
        what="the next ticks",
    )
    world.drain()

    # Then
    found = dict(
        rows(
            world.database,
            "SELECT s.name, count(r.id) FROM autotask_schedule s LEFT JOIN autotask_record r ON r.schedule = s.name "
            "GROUP BY s.name",
        )
    )
    for name, expected in (("skip", 0), ("once", 1), ("all", 11), ("late", 0)):
        figures.exactly(f"tasks with misfire={name!r}", found[f"faults.{name}"], expected)
    overlapping = rows(
        world.database,
        "SELECT 1 FROM autotask_result a JOIN autotask_result b ON a.schedule = 'faults.all' AND b.schedule = a.schedule "
        "AND b.scheduled_for > a.scheduled_for AND b.started_at < a.ended_at",
    )
    figures.exactly("runs that overlap", len(overlapping), 0)
