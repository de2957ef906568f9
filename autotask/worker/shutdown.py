"""When a worker is to leave, and with which exit status."""

import time
from collections.abc import Callable

from autotask.conf import settings
from autotask.processes.exit_status import FAILED, RECYCLED
from autotask.processes.supervised import RECYCLE_WITHIN

#: Requests to stop within this many seconds are one: a service manager may ask each process of a service, and the guard
#: asks its worker too.
SAME_REQUEST = 0.3


class Shutdown:
    """The request to leave: by when, and with which status. Any thread and any signal handler may make it.

    :param wake: called after each request, so that the loop heeds it.
    :ivar exit_status: that of the process.
    """

    def __init__(self, wake: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.exit_status = 0
        self._wake = wake
        self._clock = clock
        self._deadline: float | None = None
        self._asked_at = float("-inf")

    def is_requested(self) -> bool:
        """Whether the worker is to leave."""
        return self._deadline is not None

    def seconds_left(self) -> float:
        """Return the rest of the grace, or of the longer time that a worker has which recycles itself."""
        return 0.0 if self._deadline is None else self._deadline - self._clock()

    def stop(self) -> None:
        """Leave within the grace; asked again, at once."""
        now = self._clock()
        if self._asked_at == float("-inf"):
            self._deadline = now + settings.SHUTDOWN_GRACE
        elif now - self._asked_at >= SAME_REQUEST:
            self._deadline = now
        self._asked_at = now
        self._wake()

    def recycle(self) -> None:
        """Leave when everything that runs has ended, or after a while, with the status that asks for a successor."""
        self.exit_status = RECYCLED
        if self._deadline is None:
            self._deadline = self._clock() + max(RECYCLE_WITHIN, settings.SHUTDOWN_GRACE)
        self._wake()

    def renew(self) -> bool:
        """Leave within the grace, with the status that asks for a successor; return False if it is to leave already."""
        if self._deadline is not None:
            return False
        self.exit_status = RECYCLED
        # Nobody has asked for a stop: the first request must not count as the second.
        self._deadline = self._clock() + settings.SHUTDOWN_GRACE
        self._wake()
        return True

    def fail(self) -> None:
        """End with the status of a worker that could not begin."""
        self.exit_status = FAILED
