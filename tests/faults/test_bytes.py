"""Large results and arguments, results with very many attempts, and no thread left (fault 61)."""

import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from autotask.store.connection import execute, rows
from autotask.task import State
from tests.faults.app import tasks
from tests.helpers import wait_until

MEGABYTE = 2**20


@contextmanager
def memory_of(pid: int) -> Iterator[list[int]]:
    """Sample the bytes of memory of a process, a few times a second."""
    seen, done = [psutil.Process(pid).memory_info().rss], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            seen.append(psutil.Process(pid).memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def delays_next_to(world, ids):
    """Call a small task repeatedly until others have finished, and return the seconds until each was done."""
    delays = []
    while not all(map(world.ended, ids)):
        began = time.monotonic()
        world.wait_for(world.call(tasks.note, queue="small"), seconds=120)
        delays.append(time.monotonic() - began)
    return delays


def hold(world, figures, delays, memory, most):
    figures.record("small tasks next to them", len(delays))
    figures.at_most("the slowest of them", max(delays), 2.0, "s")
    figures.at_most("memory on top of the worker's own", (max(memory) - memory[0]) / MEGABYTE, most, "MiB")
    figures.exactly("lost", len(world.check().violations), 0)


@pytest.mark.fault(61, quick=True)
def test_large_results_do_not_hold_up_small_ones_and_do_not_fill_the_memory(world, figures, lasting):
    # Given
    worker = world.worker()
    world.wait_for(world.call(tasks.note))

    # When
    with memory_of(worker.pid) as memory:
        ids = world.call_many(tasks.give, [(250_000,)] * int(20 * lasting))
        delays = delays_next_to(world, ids[-1:])
        world.drain(300)

    # Then
    hold(world, figures, delays, memory, 250)


@pytest.mark.fault(61)
def test_the_largest_results_and_arguments_are_stored(world, figures):
    # Given
    worker = world.worker(options={"MAX_PAYLOAD": 32 * MEGABYTE})
    world.settings["MAX_PAYLOAD"] = 32 * MEGABYTE
    world.wait_for(world.call(tasks.note))

    # When
    with memory_of(worker.pid) as memory:
        ids = world.call_many(tasks.give, [(32 * MEGABYTE - 1000,)] * 20 + [(16_000_000,)] * 20)
        delays = delays_next_to(world, ids)

    # Then
    figures.record("the slowest small task next to them", max(delays), "s")
    figures.at_most("memory on top of the worker's own", (max(memory) - memory[0]) / MEGABYTE, 1200, "MiB")
    sizes = rows(
        world.database, "SELECT count(*), max(octet_length(value)) FROM autotask_result WHERE value IS NOT NULL"
    )
    assert sizes[0][0] == len(ids) + len(delays) + 1
    assert sizes[0][1] > 32 * MEGABYTE - 1000


ATTEMPTS = """
INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at, error_message, traceback)
SELECT %(id)s, n, -n, 6, now(), 'ValueError: again', repeat('File "tasks.py", line 1' || n, 20)
FROM generate_series(1, %(count)s) AS n
"""

OVER = (
    "UPDATE autotask_result SET kept_until = now() - %(over)s * interval '1 s', attempt = %(count)s WHERE id = %(id)s"
)


@pytest.mark.fault(61, quick=True)
def test_a_result_with_very_many_attempts_is_pruned_and_holds_up_no_other(world, figures, lasting):
    # Given: one with many attempts, whose time to live has been over for longer than that of the others
    world.server.sql(f"ALTER DATABASE {world.name} SET log_min_duration_statement = 1000")
    worker = world.worker(options={"CLEAN_INTERVAL": 3600})
    ids = [world.call(tasks.note) for _ in range(20)]
    for id in ids:
        world.wait_for(id)
    count = int(5_000 * lasting)
    execute(world.database, ATTEMPTS, {"id": ids[0], "count": count})
    for over, id in zip([1000] + [10] * 19, ids, strict=True):
        execute(world.database, OVER, {"id": id, "over": over, "count": count if over == 1000 else 1})
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    before = len(world.server.log())

    # When
    began = time.monotonic()
    world.worker(options={"CLEAN_INTERVAL": 1})
    wait_until(lambda: not any(map(world.task, ids[1:])), 30, "the end of the others")
    others = time.monotonic() - began
    wait_until(lambda: world.task(ids[0]) is None, 120, "the end of the one with many attempts")
    seconds = time.monotonic() - began

    # Then
    assert rows(world.database, "SELECT count(*) FROM autotask_attempt") == [(0,)]
    figures.record("attempts", count)
    figures.record("the others were pruned after", others, "s")
    figures.record("attempts pruned in a second", count / seconds)
    log = world.server.log()[before:]
    figures.exactly("statements that took too long", log.count("canceling statement due to statement timeout"), 0)
    figures.exactly("statements of more than a second", log.count("WITH old AS MATERIALIZED"), 0)


@pytest.mark.fault(61)
def test_at_the_limit_of_threads_tasks_wait_and_no_worker_dies(world, figures):
    # Given
    worker = world.worker("--threads=2")
    gate = world.folder / "go"
    gate.touch()
    limit = world.call(tasks.reach_the_limit_of_threads, 3.0)
    world.wait_for_start(limit)

    # When: the first coroutines need a thread for their event loop, the first child processes one to watch them
    ids = [
        *world.call_many(tasks.wait_for_in_coroutine, [(str(gate),)] * 20),
        *world.call_many(tasks.wait_for_in_process, [(str(gate),)] * 3),
    ]
    small = world.wait_for(world.call(tasks.note))

    # Then
    for id in [limit, *ids]:
        task = world.wait_for(id, seconds=60)
        assert (task.state, task.attempt, task.lost) == (State.DONE, 1, 0)
    assert small.attempt == 1 and not worker.has_ended()
    words = [line for line in worker.output().splitlines() if "can't start new thread" in line]
    figures.at_most("log lines", len(words), 3)


@pytest.fixture
def group():
    """A control group of processes; call it to move a process there, and to limit its threads."""
    root = Path("/sys/fs/cgroup")
    folder = (root / "pids" if (root / "pids").is_dir() else root) / f"autotask-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control groups here: {error}")
    if not (folder / "pids.max").exists():
        folder.rmdir()
        pytest.skip("the control groups here do not count processes")

    def limit(pid: int, more: int | None) -> None:
        (folder / "cgroup.procs").write_text(str(pid))
        most = "max" if more is None else str(int((folder / "pids.current").read_text()) + more)
        (folder / "pids.max").write_text(most)

    yield limit
    wait_until(lambda: not (folder / "cgroup.procs").read_text(), what="the end of the group")
    folder.rmdir()


@pytest.mark.fault(61)
@pytest.mark.parametrize("more", [0, 1, 3])
def test_in_a_control_group_that_is_full_tasks_wait_and_no_worker_dies(group, world, figures, more):
    # Given
    worker = world.worker()
    world.wait_for(world.call(tasks.note))
    group(worker.pid, more)
    gate = world.folder / "go"
    gate.touch()

    # When
    ids = [*world.call_many(tasks.wait_for_in_coroutine, [(str(gate),)] * 20)]
    ids += world.call_many(tasks.wait_for_in_process, [(str(gate),)] * 3)
    wait_until(lambda: "can't start new thread" in worker.output() or "no process could be" in worker.output())
    for _ in range(10):
        world.wait_for(world.call(tasks.note))
    group(worker.pid, None)

    # Then
    for id in ids:
        task = world.wait_for(id, seconds=60)
        assert (task.attempt, task.lost) == (1, 0)
    assert not worker.has_ended()
    figures.exactly("attempts lost", sum(world.task(id).lost for id in ids), 0)
    worker.signal(signal.SIGTERM)
    worker.wait(20)
