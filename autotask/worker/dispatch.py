"""Tasks that run in other processes: what is sent there, and what becomes of them here."""

import logging
import time
from collections.abc import Callable
from typing import Any

from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.worker import job, steps
from autotask.worker.job import Job
from autotask.worker.outcome import GiveBack, Lost
from autotask.worker.pools.base import Run
from autotask.worker.pools.processes import Died, End, Ended
from autotask.worker.reporter import Reporter
from autotask.worker.tidiness import tidy_connections

logger = logging.getLogger("autotask.worker")

#: Seconds after which a task is claimed again for which no process could be started.
WITHOUT_PROCESS = 5.0


class Dispatch:
    """The customer of the pools that run tasks elsewhere; see :class:`autotask.worker.pools.processes.Customer`.

    :param not_begun: returns the outcome of a task that is not to begin after all, or None.
    :param is_cancelled: tells whether somebody has asked to cancel a task.
    :param reporter: where tasks leave word of their progress.
    :param put: takes the outcomes.
    """

    def __init__(
        self,
        not_begun: Callable[[ClaimedTask], Outcome | GiveBack | None],
        is_cancelled: Callable[[ClaimedTask], bool],
        reporter: Reporter,
        put: Callable[[ClaimedTask, Outcome | GiveBack | Lost], None],
    ) -> None:
        self._not_begun = not_begun
        self._is_cancelled = is_cancelled
        self._reporter = reporter
        self._put = put

    def job(self, task: ClaimedTask) -> Job | None:
        """Return what is sent; None if the task is not to begin."""
        if (outcome := self._not_begun(task)) is not None:
            self._put(task, outcome)
            return None
        return job.make(task)

    def heard(self, task: ClaimedTask, message: Any) -> None:
        """Take in what a task says of its progress."""
        self._reporter.report(*message)

    def ended(self, task: ClaimedTask, began: float, end: End) -> None:
        """Decide what becomes of a task."""
        try:
            self._put(task, self._outcome(task, began, end))
        except BaseException as error:  # noqa: B036 - a thread of the pool must not end, nor its task stay without outcome
            # In this order: it may be the log that has failed.
            self._put(task, steps.broken(task, error))
            logger.exception("The worker itself failed at %s %s", task.name, task.id)
        finally:
            tidy_connections(unsure=True)  # as those who are told of the end have left them

    def _outcome(self, task: ClaimedTask, began: float, end: End) -> Outcome | GiveBack | Lost:
        if isinstance(end, BaseException):
            return steps.stopped(Run(task, began), end, self._is_cancelled(task))
        if isinstance(end, Died):
            logger.error("%s %s: its process died: %s", task.name, task.id, end.how)
            return Lost(task, end.how)
        if not isinstance(end, Ended):
            logger.error("%s %s: no process could be started for it: %s", task.name, task.id, end.how)
            return GiveBack(task, delay=WITHOUT_PROCESS)
        if isinstance(end.value, Outcome):
            # The clock of another machine means nothing here.
            return end.value._replace(ended_at=time.monotonic())
        return GiveBack(task, delay=end.value.delay, unknown=end.value.unknown, known=end.value.known)
