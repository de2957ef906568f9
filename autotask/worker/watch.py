"""The watch over running tasks: stop those that are cancelled, take too long, or outlast their worker."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from autotask.conf import settings
from autotask.exceptions import CancelRequested, TaskInterrupted, TimeLimitExceeded, WorkerStopping
from autotask.store.columns import TO_BE_CANCELLED
from autotask.task import ClaimedTask
from autotask.worker.pools.base import Abandoned, Pool, Run

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks while tasks run.
LOOK_EVERY = 0.25

#: Seconds that a task gets to stop after it was interrupted for its time limit. Then it is given up.
STOP_WITHIN = 10.0


def judge(
    ran: float, *, limit: float, cancelled_for: float | None, patience: float, stopping: bool, over: bool
) -> str | TaskInterrupted | None:
    """Decide about a running task.

    :param ran: seconds since it began.
    :param limit: seconds that it may take.
    :param cancelled_for: seconds since it was cancelled; None if it was not.
    :param patience: seconds that a cancelled task gets to stop by itself.
    :param stopping: whether its worker has to stop.
    :param over: whether the grace of the worker is over.
    :returns: None: nothing; a text: ask it to stop, for this reason; an exception: interrupt it with that.
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
    """A thread that looks at the running tasks a few times a second. Only it interrupts tasks.

    :param is_cancelled: returns whether a task should be cancelled.
    :param give_up: called with the pool and the run of a task that does not stop, its limit in seconds, and its remains.
    :param show: called with all running tasks, after each look.
    :param look_too: called at each look.
    """

    def __init__(
        self,
        pools: Sequence[Pool[ClaimedTask]],
        is_cancelled: Callable[[ClaimedTask], bool],
        give_up: Callable[[Pool[ClaimedTask], Run[ClaimedTask], float, Abandoned], None],
        show: Callable[[Sequence[Run[ClaimedTask]]], None] | None = None,
        look_too: Callable[[], None] = lambda: None,
    ) -> None:
        self._look_too = look_too
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
        """Have it look soon: a task should be cancelled."""
        self._awake.set()

    def begin(self) -> None:
        """Have it look from time to time: tasks were submitted."""
        if self._idle:
            self._awake.set()

    def ask_all(self) -> None:
        """From now on, ask all tasks to stop, since their worker does."""
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
            self._idle = True  # Before the look, so that no task can begin unseen.
            try:
                something_runs = self._look(time.monotonic())
            except Exception:
                logger.exception("The watch over running tasks has failed, and continues")
                something_runs = True
            self._idle = not something_runs
            self._awake.wait(LOOK_EVERY if something_runs else None)
            self._awake.clear()

    def _look(self, now: float) -> bool:
        limit = settings.TIMEOUT
        self._look_too()
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
        # Once for each reason: its cleaning up must not be interrupted as well.
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
