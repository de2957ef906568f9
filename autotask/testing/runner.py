"""A worker that runs one task at a time in the thread of a test, with the parts of a real one."""

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autotask import payload, registry
from autotask.conf import settings
from autotask.exceptions import TaskFailed
from autotask.notifications import delivery
from autotask.snapshot import Era
from autotask.store import claim, hasten, notices, workers
from autotask.store.claim import BoundedLane
from autotask.store.connection import current
from autotask.store.finish import Outcome
from autotask.store.notices import Delivery
from autotask.task import ClaimedTask, State
from autotask.testing import transactions
from autotask.testing.attempt import InPlace
from autotask.worker import execution, steps
from autotask.worker.gates import Gates
from autotask.worker.identity import make_identity
from autotask.worker.outcome import Released
from autotask.worker.reporter import Reporter
from autotask.worker.surroundings import Untouched
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.writes import Writes

logger = logging.getLogger("autotask.testing")


@dataclass(frozen=True, slots=True)
class Ran:
    """The end of one attempt.

    :ivar error: the exception of the function, or None.
    """

    task: ClaimedTask
    ended: Outcome | Released
    error: BaseException | None

    @property
    def again_after(self) -> float | None:
        """Seconds until the task runs again; None if it has ended."""
        if isinstance(self.ended, Released) or self.ended.state is State.RETRY:
            return self.ended.delay
        return None

    def raise_error(self) -> None:
        """Raise the exception of the function, if the task ended in ERROR.

        :raises TaskFailed: it ended in ERROR for another reason.
        """
        if isinstance(self.ended, Outcome) and self.ended.state is State.ERROR:
            message = self.ended.error_message
            raise self.error or TaskFailed(id=self.task.id, name=self.task.name, error_message=message)


class Runner:
    """Claims, runs and records tasks on the connection of the calling thread."""

    def __init__(self) -> None:
        self._id = uuid.uuid4()
        self._reporter = Reporter(lambda claim: True)
        self._writes = Writes(current, self._reporter, UnknownTasks(), Gates(lambda: None))

    @contextlib.contextmanager
    def signed_on(self) -> Iterator[None]:
        """Register as a worker for the duration of the block."""
        identity = make_identity(kind="test", serves_pid=None, queues=(), threads=1)
        self._id = identity.id
        workers.sign_on(current(), identity, settings.LEASE)
        try:
            yield
        finally:
            workers.sign_off(current(), self._id)

    def run(self, id: uuid.UUID, late: Callable[[ClaimedTask], float | None] = lambda task: task.late) -> Ran | None:
        """Run one attempt of a task, whenever it is due.

        :param late: returns how many seconds ago it expired, or None; by default by the clock of the database.
        :returns: None if the task does not wait, or another worker holds it.
        :raises UnknownTask: its function is not known.
        """
        if (task := self._claim(id)) is None:
            return None
        task = task._replace(late=late(task))
        since, attempt = transactions.marks(), InPlace()
        ended = self._execute(task, attempt)
        self._run_left_on_commit(task, since)
        for write, group in self._writes.parted([(task, ended)]):
            if group:
                write(group)
        Era.begin()
        if isinstance(ended, Outcome) and payload.some_tell([task.payload]):
            self._notify(task)
        attempt.raise_what_is_not_for_tasks()
        if isinstance(ended, Released) and ended.unknown:
            registry.find(task)
        return Ran(task, ended, attempt.error)

    def _claim(self, id: uuid.UUID) -> ClaimedTask | None:
        connection = current()
        if (lane := hasten.hasten(connection, id)) is None:
            return None
        bounded = [BoundedLane(lane, None)]
        claimed = claim.claim(connection, self._id, bounded, per_lane=1, limit=1, which=claim.only(id))
        return claimed[0] if claimed else None

    def _execute(self, task: ClaimedTask, attempt: InPlace) -> Outcome | Released:
        if task.cancel_requested:
            return steps.cancelled(task)
        return execution.execute(task, self._is_cancelled, self._reporter, attempt, Untouched())

    def _is_cancelled(self, task: ClaimedTask) -> bool:
        return task.id in workers.to_be_cancelled(current(), self._id)

    def _notify(self, task: ClaimedTask) -> None:
        """Run the delivery of the notices of a task that has ended, once."""
        connection = current()
        for untold in notices.find(connection):
            if untold.id == task.id and untold.waiting:
                (call,) = delivery.calls([task.id])
                notices.begin(connection, [Delivery(untold, call)])
                self.run(call.id)

    def _run_left_on_commit(self, task: ClaimedTask, since: transactions.Marks) -> None:
        """Run the on_commit functions of the transaction in which an ``atomic`` task has ended."""
        try:
            with transactions.sheltered():
                transactions.run_on_commit(since)
        except Exception:
            logger.exception("%s %s was committed, but an on_commit function failed", task.name, task.id)
