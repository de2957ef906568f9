"""Service: tell the register this worker lives, and hear what is to be cancelled."""

import time
import uuid
from collections.abc import Callable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import workers

#: Share of the lease without a successful beat after which nothing new is started: others may soon give it away.
FRESH = 0.7


class Heartbeat:
    """Keeps the lease of a worker.

    :param worker_id: returns the present id of the worker.
    :param on_cancel: called with the ids of running tasks that are to be cancelled.
    :param on_lost: called when the register does not know the worker any more.
    :param holds_tasks: tells whether there is anything that could be cancelled.
    """

    doing = "renew the lease of this worker"

    def __init__(
        self,
        worker_id: Callable[[], uuid.UUID],
        on_cancel: Callable[[Sequence[uuid.UUID]], None],
        on_lost: Callable[[BaseDatabaseWrapper], None],
        holds_tasks: Callable[[], bool] = lambda: True,
    ) -> None:
        self._worker_id = worker_id
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._holds_tasks = holds_tasks
        self.stopping = False
        self._next_at = float("-inf")
        self.begin()

    def begin(self) -> None:
        """Note that a new lease begins now."""
        self._beaten_at = time.monotonic()

    def is_fresh(self) -> bool:
        """Whether the lease can be trusted to be this worker's."""
        return time.monotonic() - self._beaten_at < FRESH * settings.LEASE

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Renew the lease."""
        # Taken before the statement: the lease may have begun any moment after this one.
        now, worker_id = time.monotonic(), self._worker_id()
        if not workers.beat(connection, worker_id, lease=settings.LEASE, stopping=self.stopping):
            self._on_lost(connection)
        self._beaten_at = now
        # Before its time it is called since somebody has asked to cancel something.
        if (self._holds_tasks() or now < self._next_at) and (
            to_cancel := workers.to_be_cancelled(connection, worker_id)
        ):
            self._on_cancel(to_cancel)
        self._next_at = now + min(settings.HEARTBEAT, settings.LEASE / 3)
        # The lease has begun with the statement: after an answer that was long in coming the next beat is due at once.
        return max(0.0, self._next_at - time.monotonic())
