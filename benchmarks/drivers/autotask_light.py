"""What a claim costs the server while many light workers drain a queue: sessions that claim and record as workers do, and run nothing."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from autotask.store import claim, claims, finish
from autotask.store.claim import Lane
from autotask.store.connection import dedicated
from autotask.store.finish import Outcome
from autotask.task import DEFAULT_QUEUE, THREAD, ClaimedTask, State
from autotask.worker import bounds, turns
from autotask.worker.claiming.claimer import LARGEST_CLAIM
from autotask.worker.claiming.claims import Claims
from autotask.worker.claiming.intake import Intake
from autotask.worker.idle import IdleSleep
from autotask.worker.options import WorkerOptions
from autotask.worker.paused import Paused
from autotask.worker.registration import Registration
from autotask.worker.unknown_tasks import UnknownTasks
from benchmarks.drivers.base import Driver

#: Claims of each session before the drain: for the first ones, the server reads its catalogs, and plans.
_WARM = 12

#: Seconds that a worker waits when others hold the locks of all that is left, and for all workers to start.
_WAIT = 0.005
_START = 60.0

#: A queue without tasks.
_NOWHERE = "nowhere"


class _Cost(NamedTuple):
    """What a worker has done, and the CPU of its two server processes in seconds; that of looks for lanes is no part of a claim."""

    tasks: int
    claiming: float
    looking: float
    recording: float


class _Light:
    """A light worker: two sessions, and nothing between a claim and its outcomes."""

    def __init__(self) -> None:
        self._claiming, self._recording = dedicated("claim"), dedicated("recorder")
        registration = Registration(WorkerOptions(), ())
        registration.sign_on(self._claiming.wrapper)
        self._claims = Claims(registration, UnknownTasks(), Paused())
        parts: Any = None, lambda queue: True, self._claims
        self._intake = Intake(THREAD, *parts)  # without a pool, since nothing is run
        self._idle = IdleSleep()
        self._cpu = [_Cpu(each.wrapper.connection.info.backend_pid) for each in (self._claiming, self._recording)]

    def warm_up(self) -> None:
        """Have the server prepare and plan."""
        self._intake.lanes.found([Lane(_NOWHERE, 0)])
        for _ in range(_WARM):
            self._claim(unbounded=False)
            self._look()
        self._intake.lanes.found([Lane(DEFAULT_QUEUE, 0)])

    def drain(self) -> _Cost:
        """Claim and record until nothing is left."""
        tasks, looking, spent = 0, 0.0, [cpu.seconds() for cpu in self._cpu]
        while self._intake.has_work():
            while self._intake.lanes.sure and not self._claims.turns.begin(LARGEST_CLAIM):
                time.sleep(self._idle.while_locked())
            claimed = self._claim(unbounded=False)
            if len(claimed) < LARGEST_CLAIM:
                before = self._cpu[0].seconds()
                self._intake.lanes.found(self._look())
                looking += self._cpu[0].seconds() - before
                claimed = claimed or (self._claim(unbounded=True) if self._intake.has_work() else [])
            if claimed:
                tasks += len(claimed)
                self._idle.found_work()
                self._record(claimed)
            else:
                time.sleep(_WAIT)
        claiming, recording = (cpu.seconds() - before for cpu, before in zip(self._cpu, spent, strict=True))
        return _Cost(tasks, claiming - looking, looking, recording)

    def _look(self) -> list[Lane]:
        return claim.find_lanes(self._claiming.wrapper).lanes

    def _claim(self, *, unbounded: bool) -> list[ClaimedTask]:
        found: list[ClaimedTask] = self._intake.claim(self._claiming.wrapper, LARGEST_CLAIM, None, unbounded=unbounded)
        return found

    def _record(self, tasks: Sequence[ClaimedTask]) -> None:
        now = time.monotonic()
        outcomes = [Outcome(task.id, task.fence, State.DONE, now, 0.0) for task in tasks]
        over = sorted({claims.number(task.fence) for task in tasks})
        finish.end(self._recording.wrapper, outcomes, now=now, error_ttl=86400.0, over=over)


class _Cpu:
    """The CPU time of a process, as the scheduler of Linux counts it."""

    def __init__(self, pid: int) -> None:
        self._path = f"/proc/{pid}/schedstat"

    def seconds(self) -> float:
        with open(self._path) as file:
            return int(file.read().split()[0]) / 1e9


def light(driver: Driver) -> dict[str, Any]:
    """Drain the waiting tasks with ``order.workers`` light workers, each a process; measure the CPU of their server processes.

    :raises NotImplementedError: the server is not on this machine, or this is not Linux.
    """
    if not os.path.exists(f"/proc/{driver.sql.value('SELECT pg_backend_pid()')}/schedstat"):
        raise NotImplementedError("it needs Linux, and the server on this machine")
    driver.connect()
    driver.sql.settle()
    bounds.MEMORY.share()
    turns.MEMORY.share()
    count, forks = driver.order.workers, multiprocessing.get_context("fork")
    ready, costs = forks.Barrier(count), forks.SimpleQueue()
    processes = [forks.Process(target=_work, args=(ready, costs), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(driver.order.limit)
    if any(process.exitcode for process in processes):
        raise RuntimeError("not every worker has ended well")
    tasks, claiming, looking, recording = map(sum, zip(*(costs.get() for _ in processes), strict=True))
    return {
        "tasks": tasks,
        "complete": tasks == driver.order.tasks,
        "claim_us": 1e6 * claiming / tasks,
        "look_us": 1e6 * looking / tasks,
        "record_us": 1e6 * recording / tasks,
    }


def _work(ready: Any, costs: Any) -> None:
    try:
        worker = _Light()
        worker.warm_up()
        ready.wait(_START)
    except BaseException:
        ready.abort()
        raise
    costs.put(worker.drain())
