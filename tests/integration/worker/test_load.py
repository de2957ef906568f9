"""Many tasks, in workers that are processes of their own: nobody waits for a flood, and nothing is run twice or piles up."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from django.db import connections, transaction

from autotask.handle import TaskHandle
from autotask.store import prune, read, rescue, tally
from autotask.store.connection import current, rows
from autotask.task import CANCELLED, DONE
from autotask.worker.claiming.claimer import LARGEST_CLAIM
from tests.helpers import LONG, wait_until
from tests.integration.worker.app.tasks import note, nothing

pytestmark = pytest.mark.django_db(transaction=True)

# --- a flood --------------------------------------------------------------------------------------------------------

FLOOD = 100_000 if LONG else 60_000

#: Tasks that may start between a call in another queue and its start: three batches that the worker holds already, one
#: that it is just claiming, and those of the claims in which it is the other queue's turn; with some to spare.
AHEAD = 8 * LARGEST_CLAIM


@pytest.fixture
def ledger(tmp_path) -> Path:
    """A file in which tasks leave a line."""
    path = tmp_path / "ledger"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("queues", "bound"),
    [
        pytest.param(["lone"] * 5, AHEAD, id="a queue that is known"),
        # A worker that has enough to do looks for new queues every few hundredths of a second.
        pytest.param([f"lone{number}" for number in range(5)], 4 * AHEAD, id="queues that are new"),
    ],
)
def test_a_flooded_queue_delays_a_task_of_another_by_a_few_batches_only(start_processes, ledger, queues, bound):
    # Given
    start_processes(1, "--threads=2")
    note.using(queue="lone")(str(ledger), "known").wait(20)
    note.using(queue="flood").enqueue_many([(str(ledger), "f")] * FLOOD)
    wait_until(lambda: ledger.stat().st_size > 2000, what="the beginning of the flood")

    # When
    ahead = [started_before(ledger, queue, f"lone task {number}") for number, queue in enumerate(queues)]

    # Then
    assert ledger.read_text().count("f\n") < FLOOD, "the flood was over too soon"
    assert max(ahead) <= bound, ahead
    wait_until(lambda: ledger.read_text().count("f\n") == FLOOD, 120, "the end of the flood")


def started_before(ledger: Path, queue: str, line: str) -> int:
    """Return how many tasks have started between the commit of a call and its own start."""
    at_commit = []
    with transaction.atomic():
        note.using(queue=queue)(str(ledger), line)
        transaction.on_commit(lambda: at_commit.append(ledger.stat().st_size))
    at_start = wait_until(lambda: ledger.read_bytes().find(line.encode()) + 1, what="the start of the lone task")
    return (at_start - 1 - at_commit[0]) // len("f\n")


# --- all at once ----------------------------------------------------------------------------------------------------

HAMMERING = 60.0 if LONG else 3.0


class Hammer:
    """Threads that do something over and over; their errors are not lost."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, act: Callable[[], object]) -> None:
        """Start a thread."""
        self._threads.append(threading.Thread(target=self._run, args=(act,)))
        self._threads[-1].start()

    def join(self) -> None:
        """Wait for all threads."""
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, act: Callable[[], object]) -> None:
        try:
            while time.monotonic() < self._until and not self._errors:
                act()
        except BaseException as error:  # noqa: B036 - it is raised where they are joined
            self._errors.append(error)
        finally:
            connections.close_all()


class Site:
    """Web processes that enqueue, cancel and look, all at the same time."""

    def __init__(self, ledger: Path) -> None:
        self.handles: dict[str, TaskHandle[None]] = {}
        self.cancelled: set[str] = set()
        self._ledger = str(ledger)
        self._recent: list[str] = []
        self._number = iter(range(10**9))

    def call(self) -> None:
        """Enqueue one task; half of them can be pruned as soon as they have ended, others can still be cancelled for a while."""
        number = next(self._number)
        task = note.using(
            ttl=0.0 if number % 2 else 600.0,
            delay=0.0 if number % 4 else 0.5,
            queue=f"queue{number % 3}",
            priority=number % 2,
        )
        self._remember({str(number): task(self._ledger, str(number))})

    def call_many(self) -> None:
        """Enqueue thirty tasks with one statement."""
        lines = [str(next(self._number)) for _ in range(30)]
        handles = note.using(ttl=600.0).enqueue_many([(self._ledger, line) for line in lines])
        self._remember(dict(zip(lines, handles, strict=True)))

    def cancel(self) -> None:
        """Cancel a few of the tasks that were enqueued last, wherever they are, in an order of their own."""
        for line in random.sample(self._recent, min(5, len(self._recent))):
            if self.handles[line].cancel():
                self.cancelled.add(line)

    def clean(self) -> None:
        """Do by hand what services of workers do."""
        prune.prune(current(), limit=50)
        rescue.rescue(current(), [], reason="nobody", max_crashes=3, error_ttl=600.0)

    def _remember(self, handles: dict[str, TaskHandle[None]]) -> None:
        self.handles.update(handles)
        self._recent = [*self._recent[-100:], *handles]


def test_with_everything_at_once_each_task_is_run_once_and_nobody_is_in_a_deadlock(start_processes, ledger):
    # Given
    before = deadlocks()
    workers = start_processes(4 if LONG else 2, "--threads=2")
    site, hammer = Site(ledger), Hammer(HAMMERING)

    # When
    for act in (site.call, site.call, site.call_many, site.cancel, site.cancel, site.clean, site.clean):
        hammer.start(act)
    hammer.join()
    wait_until(lambda: not tally.counts(current()), 60, "the end of all tasks")

    # Then
    executed = Counter(ledger.read_text().split())
    assert executed.keys() <= site.handles.keys()
    assert set(executed.values()) == {1}
    assert site.handles.keys() - executed.keys() <= site.cancelled
    kept = {line: task.state.status for line, task in stored(site.handles)}
    assert set(kept.values()) <= {DONE, CANCELLED}
    assert {line for line, status in kept.items() if status is DONE} <= executed.keys()
    assert not {line for line, status in kept.items() if status is CANCELLED} & executed.keys()
    assert site.cancelled - executed.keys(), "nothing was cancelled in time"
    assert len(kept) < len(site.handles), "nothing was pruned"
    for worker in workers:
        assert worker.stop() == 0
        assert "WARNING" not in worker.output() and "ERROR" not in worker.output(), worker.output()
    assert deadlocks() == before


def stored(handles: dict[str, TaskHandle[None]]) -> Iterator[tuple[str, read.StoredTask]]:
    lines = {handle.id: line for line, handle in handles.items()}
    for task in read.newest(current(), limit=len(handles)):
        yield lines[task.id], task


def deadlocks() -> int:
    """Return how many deadlocks there have been in the test database; those of living sessions may be missing."""
    ((number,),) = rows(current(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return number


# --- in the long run ------------------------------------------------------------------------------------------------

TASKS = 100_000 if LONG else 5_000

#: Bytes by which memory may grow: tables of CPython and of the allocator that are still filling up.
GROWTH = 3 * 2**20


def test_a_worker_does_not_grow_with_the_number_of_its_tasks(start_processes):
    # Given
    (worker,) = start_processes(1, "--threads=4")
    drain(3000)
    wait_until(lambda: footprint(worker.pid)[2] == 3, what="all connections of the worker")
    memory, files, sessions = footprint(worker.pid)

    # When
    for _ in range(TASKS // 1000):
        drain(1000)

    # Then
    assert footprint(worker.pid)[0] <= memory + GROWTH
    wait_until(lambda: footprint(worker.pid)[1:] == (files, sessions), what="as few files and connections as before")


def drain(number: int) -> None:
    """Enqueue tasks, and wait for the last of them to have ended."""
    nothing.using(ttl=0.0).enqueue_many([()] * number)
    wait_until(lambda: not tally.counts(current()), 60, "the end of all tasks")


def footprint(pid: int) -> tuple[int, int, int]:
    """Return the memory of a process that is its own or its share, its open files, and the connections of workers."""
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    ((sessions,),) = rows(
        current(),
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'autotask %'",
    )
    return getattr(memory, "pss", memory.uss), process.num_fds(), sessions
