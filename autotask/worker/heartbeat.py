"""Service: renew the lease of this worker, and learn which tasks to cancel."""

import time
import uuid
from collections.abc import Callable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import workers
from autotask.worker.held import HeldTasks
from autotask.worker.registration import Registration


class Heartbeat:
    """Keeps the lease of a worker.

    :param held: only held tasks can be cancelled.
    :param on_cancel: called with the ids of running tasks to cancel.
    :param on_new_name: called when the worker was no longer in the register, and has registered under a new name.
    """

    doing = "renew the lease of this worker"

    def __init__(
        self,
        registration: Registration,
        held: HeldTasks,
        on_cancel: Callable[[Sequence[uuid.UUID]], None],
        on_new_name: Callable[[], None],
    ) -> None:
        self._registration = registration
        self._held = held
        self._on_cancel = on_cancel
        self._on_new_name = on_new_name
        self._next_at = float("-inf")

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Renew the lease."""
        now, worker_id = time.monotonic(), self._registration.id
        if not self._registration.beat(connection):
            self._on_new_name()
        # A run before its time means that somebody has asked to cancel a task.
        if (self._held or now < self._next_at) and (to_cancel := workers.to_be_cancelled(connection, worker_id)):
            self._on_cancel(to_cancel)
        self._next_at = now + min(settings.HEARTBEAT, settings.LEASE / 3)
        # The lease begins with the statement: after a slow answer the next beat is due at once.
        return max(0.0, self._next_at - time.monotonic())
