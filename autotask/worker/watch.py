"""The watch over what runs: stop what is to be cancelled, what takes too long, and what outlasts its worker."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from autotask.conf import settings
from autotask.exceptions import CancelRequested, TaskInterrupted, TimeLimitExceeded, WorkerStopping
from autotask.task import ClaimedTask
from autotask.worker.pools.base import Abandoned, Pool, Run

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks while something runs.
LOOK_EVERY = 0.25

#: Seconds that a task gets to come to its end when it was interrupted for its time limit. Then it is given up.
STOP_WITHIN = 10.0


#: Why a task should stop that somebody has cancelled.
TO_BE_CANCELLED = "it is to be cancelled"


def judge(
    ran: float, *, limit: float, cancelled_for: float | None, patience: float, stopping: bool, over: bool
) -> str | TaskInterrupted | None:
    """Return what is to be done about a running task.

    :param ran: seconds since it began.
    :param limit: seconds that it may take.
    :param cancelled_for: seconds since it was to be cancelled; None if it is not.
    :param patience: seconds that a task gets to stop by itself when it is to be cancelled.
    :param stopping: whether its worker is to end.
    :param over: whether the grace of the worker is over.
    :returns: None: nothing; a text: ask it to stop, and why; an exception: interrupt it by that.
    """
    if ran >= limit:
        return TimeLimitExceeded(f"timed out after {limit:g} s")
    if cancelled_for is not None:
        why = TO_BE_CANCELLED
        return CancelRequested(why) if over or cancelled_for >= patience else why
    if stopping or over:
        why = "its worker stops"
        return WorkerStopping(why) if over else why
    return None


class Watch:
    """A thread that looks at what runs, a few times a second. A task costs it nothing but that it has a beginning.

    It is the only one that interrupts.

    :param pools: where tasks run.
    :param is_cancelled: tells whether a task is to be cancelled.
    :param give_up: called with the pool and the run of a task that does not stop, its limit in seconds, and what its pool has left of it.
    :param show: called with all that runs, after each look.
    """

    def __init__(
        self,
        pools: Sequence[Pool[ClaimedTask]],
        is_cancelled: Callable[[ClaimedTask], bool],
        give_up: Callable[[Pool[ClaimedTask], Run[ClaimedTask], float, Abandoned], None],
        show: Callable[[Sequence[Run[ClaimedTask]]], None] | None = None,
    ) -> None:
        self._pools = pools
        self._is_cancelled = is_cancelled
        self._give_up = give_up
        self._show = show
        self._stopping = False
        self._over = False
        self._cancelled_at: dict[int, float] = {}
        self._interrupted: dict[int, type[TaskInterrupted]] = {}
        self._awake = threading.Event()
        self._ended = False
        self._idle = True
        self._thread = threading.Thread(target=self._run, name="autotask-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have it look soon: something is to be cancelled."""
        self._awake.set()

    def begin(self) -> None:
        """Have it look from time to time: something was submitted."""
        if self._idle:
            self._awake.set()

    def ask_all(self) -> None:
        """From now on, tell all tasks that their worker stops."""
        self._stopping = True
        self._awake.set()

    def interrupt_all(self) -> None:
        """From now on, interrupt all tasks."""
        self._over = True
        self._awake.set()

    def stop(self) -> None:
        """End the thread, soon."""
        self._ended = True
        self._awake.set()

    def _run(self) -> None:
        while not self._ended:
            self._idle = True  # Before the look, so that nothing can begin unseen.
            try:
                something_runs = self._look(time.monotonic())
            except Exception:
                logger.exception("The watch over running tasks has failed, and goes on")
                something_runs = True
            self._idle = not something_runs
            self._awake.wait(LOOK_EVERY if something_runs else None)
            self._awake.clear()

    def _look(self, now: float) -> bool:
        limit = settings.TIMEOUT
        running = [(pool, run) for pool in self._pools for run in pool.running()]
        for pool, run in running:
            self._look_at(pool, run, now, run.item.timeout or limit)
        seen = {run.item.fence for _, run in running}
        for noted in (self._cancelled_at, self._interrupted):
            for fence in noted.keys() - seen:
                del noted[fence]
        if self._show is not None:
            self._show([run for _, run in running])
        return any(pool.outstanding() for pool in self._pools)

    def _look_at(self, pool: Pool[ClaimedTask], run: Run[ClaimedTask], now: float, limit: float) -> None:
        task, ran = run.item, now - run.began
        verdict = judge(
            ran,
            limit=limit,
            cancelled_for=self._cancelled_for(task, now),
            patience=pool.patience,
            stopping=self._stopping,
            over=self._over,
        )
        if verdict is None:
            return
        pool.ask(task, str(verdict))
        if isinstance(verdict, str):
            return
        kind = type(verdict)
        # Once for each reason: what it does to clean up is not to be hit as well.
        if self._interrupted.get(task.fence) is not kind and pool.interrupt(task, verdict):
            self._interrupted[task.fence] = kind
        elif kind is TimeLimitExceeded and ran >= limit + STOP_WITHIN:
            self._abandon(pool, run, limit)

    def _cancelled_for(self, task: ClaimedTask, now: float) -> float | None:
        if not self._is_cancelled(task):
            return None
        return now - self._cancelled_at.setdefault(task.fence, now)

    def _abandon(self, pool: Pool[ClaimedTask], run: Run[ClaimedTask], limit: float) -> None:
        if (left := pool.abandon(run.item)) is not None:
            self._give_up(pool, run, limit, left)
