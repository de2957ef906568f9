"""Stops the running tasks of a worker: waits for them, interrupts them, and leaves the rest behind."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError

from autotask.conf import settings
from autotask.task import ClaimedTask
from autotask.wakeup import Wakeup
from autotask.worker import steps
from autotask.worker.held import HeldTasks
from autotask.worker.hygiene import tidy_connections
from autotask.worker.news import News
from autotask.worker.outcome import Released
from autotask.worker.pools.base import Abandoned, Pool, Run
from autotask.worker.receiver import Receiver
from autotask.worker.recorder import Recorder
from autotask.worker.shutdown import Shutdown
from autotask.worker.watch import STOP_WITHIN, Watch

logger = logging.getLogger("autotask.worker")

#: Seconds that interrupted tasks get to stop when the grace is over.
TO_STOP = 0.2


@dataclass(eq=False, slots=True)
class Abandoner:
    """Records outcomes of tasks that do not stop, and forgets the tasks. The watch and the loop call this."""

    held: HeldTasks
    recorder: Recorder
    shutdown: Shutdown

    def give_up(self, pool: Pool[ClaimedTask], run: Run[ClaimedTask], limit: float, left: Abandoned) -> None:
        """Give up a task that does not stop after its time limit; if it hangs in this process, recycle the worker."""
        task = run.item
        self.held.give_up(task)
        self.recorder.followers.lose([task])  # It may still run.
        self.recorder.put((task, steps.given_up(run, limit, left.where, self.held.is_cancelled(task))))
        tidy_connections(unsure=True)  # receivers may have left them open
        if left.hangs:
            logger.error(
                "%s %s does not stop, %g s after its limit of %g s; this worker takes no more tasks, and is replaced by "
                "another one when its running tasks have finished",
                task.name,
                task.id,
                STOP_WITHIN,
                limit,
            )
            if left.with_others:
                self.leave_behind(pool)
            self.shutdown.recycle()

    def leave_behind(self, pool: Pool[ClaimedTask]) -> None:
        """Give up all running tasks of a pool: another worker runs them, except those that may run only once."""
        for run in pool.running():
            task = run.item
            if pool.abandon(task) is not None:
                self.held.give_up(task)
                self.recorder.followers.lose([task])
                ended = steps.left_behind(run, self.held.is_cancelled(task))
                what = (
                    "is released, to be run by another worker"
                    if isinstance(ended, Released)
                    else "is recorded as ended"
                )
                logger.warning("%s %s does not stop; it %s", task.name, task.id, what)
                self.recorder.put((task, ended))


@dataclass(eq=False, slots=True)
class Drain:
    """Stops all that a worker runs. The loop's thread calls this after its last turn."""

    pools: Collection[Pool[ClaimedTask]]
    watch: Watch
    abandoner: Abandoner
    shutdown: Shutdown
    wakeup: Wakeup
    news: News
    receiver: Receiver

    def run(self) -> bool:
        """Wait for running tasks until the grace is over, and leave the rest behind; return whether all have finished."""
        drained = self._has_ended() or self._interrupt()
        if not drained:
            for pool in self.pools:
                self.abandoner.leave_behind(pool)
        return drained

    def _has_ended(self) -> bool:
        while True:
            self._release_late()
            # A worker with more time than the grace is being recycled: it does not disturb its tasks before it has to.
            if self.shutdown.seconds_left() <= settings.SHUTDOWN_GRACE:
                self.watch.ask_all()
            # In short steps: a request to stop may come meanwhile, and a second one ends the grace now.
            if self._all_drained(0.05) and not self.receiver.offers.are_open():
                return True
            if self.shutdown.seconds_left() <= 0:
                return False

    def _release_late(self) -> None:
        """Release tasks that are handed over while this worker stops, or were stored for it and got lost on the way."""
        self.wakeup.sleep(0)
        self.news.hear_last()
        self.receiver.accept()
        if self.receiver.offers.is_overdue():
            # If it fails now, it is done at the end.
            try:
                self.receiver.reconcile(self.news.connection.wrapper)
            except (DatabaseError, InterfaceError, OSError):
                self.news.connection.close()
                self.receiver.offers.void()  # else this worker would wait for it until its grace is over

    def _interrupt(self) -> bool:
        self.watch.interrupt_all()
        return self._all_drained(TO_STOP)

    def _all_drained(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        return all(pool.drain(max(0.0, deadline - time.monotonic())) for pool in self.pools)
