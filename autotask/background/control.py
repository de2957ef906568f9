"""The means to stop and to wake one running background worker."""

import threading
import time


class Control:
    """Belongs to one instance of a background worker. Any thread may call it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._woken = False
        self._asked = False

    @property
    def asked(self) -> bool:
        """Whether the instance is to stop."""
        return self._asked

    def ask(self) -> None:
        """Ask the instance to stop."""
        with self._changed:
            self._asked = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Say that there is something to do."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until woken, asked to stop, or until the time is over.

        :param seconds: None: without end.
        :returns: whether it was woken; this is reset.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.asked or self._woken, seconds)
            woken, self._woken = self._woken, False
            return woken

    def sleep(self, seconds: float) -> bool:
        """Sleep; return False if the instance is to stop, at once."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self.asked, max(0.0, deadline - time.monotonic()))
            return not self.asked
