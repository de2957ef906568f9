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
    :param is_idle: whether it is enough to tell just this worker of a task.
    :param line: the mark of the line on which it can be handed tasks now; "" if it cannot.
    """

    doing = "renew the lease of this worker"

    def __init__(
        self,
        registration: Registration,
        held: HeldTasks,
        on_cancel: Callable[[Sequence[uuid.UUID]], None],
        on_new_name: Callable[[], None],
        is_idle: Callable[[], bool],
        line: Callable[[], str],
    ) -> None:
        self._registration = registration
        self._held = held
        self._on_cancel = on_cancel
        self._on_new_name = on_new_name
        self._is_idle = is_idle
        self._line = line
        #: The number of times it was asked to look for requests, and what that was when it did the last time.
        self._asked = self._answered = 0

    def look_for_requests(self) -> None:
        """Have the next run look for requests to cancel even if no task is held: it may be on its way. Only the loop calls this."""
        self._asked += 1

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Renew the lease."""
        now, worker_id, asked = time.monotonic(), self._registration.id, self._asked
        if not self._registration.beat(connection, idle=self._is_idle(), line=self._line()):
            self._on_new_name()
        if (self._held or asked != self._answered) and (to_cancel := workers.to_be_cancelled(connection, worker_id)):
            self._on_cancel(to_cancel)
        self._answered = asked
        # The lease begins with the statement: after a slow answer the next beat is due at once.
        return max(0.0, now + min(settings.HEARTBEAT, settings.LEASE / 3) - time.monotonic())
