"""When a worker has to stop, and with which exit status."""

import time
from collections.abc import Callable

from autotask.conf import settings
from autotask.processes.exit_status import FAILED, RECYCLED
from autotask.processes.supervised import RECYCLE_WITHIN

#: Requests to stop within this many seconds are one: a service manager may ask each process of a service, and the guard
#: asks its worker too.
SAME_REQUEST = 0.3


class Shutdown:
    """The request to stop: by when, and with which status. Any thread and any signal handler may make it.

    :param wake: called after each request, so that the loop notices it.
    :ivar exit_status: the exit status of the process.
    """

    def __init__(self, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.exit_status = 0
        self._wake = wake
        self._clock = clock
        self._deadline: float | None = None
        self._asked_at = float("-inf")

    def is_requested(self) -> bool:
        """Whether the worker has to stop."""
        return self._deadline is not None

    def seconds_left(self) -> float:
        """Return the rest of the grace, or of the longer time that a worker has when it is recycled."""
        return 0.0 if self._deadline is None else self._deadline - self._clock()

    def stop(self) -> None:
        """Stop within the grace; at once if asked again."""
        now = self._clock()
        if self._asked_at == float("-inf"):
            self._deadline = now + settings.SHUTDOWN_GRACE
        elif now - self._asked_at >= SAME_REQUEST:
            self._deadline = now
        self._asked_at = now
        self._wake()

    def recycle(self) -> None:
        """Stop when all running tasks have finished, or after a while, with the status that asks for a successor."""
        self.exit_status = RECYCLED
        if self._deadline is None:
            self._deadline = self._clock() + max(RECYCLE_WITHIN, settings.SHUTDOWN_GRACE)
        self._wake()

    def renew(self) -> bool:
        """Stop within the grace, with the status that asks for a successor; return False if it is stopping already."""
        if self._deadline is not None:
            return False
        self.exit_status = RECYCLED
        # Nobody has asked for a stop: the first request must not count as the second.
        self._deadline = self._clock() + settings.SHUTDOWN_GRACE
        self._wake()
        return True

    def fail(self) -> None:
        """Use the exit status of a worker that could not start."""
        self.exit_status = FAILED
