"""Counted signals to stop, and a sleep that any signal ends; standard library only."""

import os
import signal
import time
from collections.abc import Iterable

from autotask.processes import readable

#: Signals to stop within this many seconds are one request: a service manager may signal all processes, and the kernel
#: does when the Django process is gone.
SAME_REQUEST = 0.3


class StopSignals:
    """Counts the requests to stop."""

    def __init__(self) -> None:
        self.count = 0
        self._last = float("-inf")
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def catch(self, *signals: signal.Signals) -> None:
        """Take these signals as requests to stop, and let the death of a child end the sleep too."""
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for signum in signals:
            signal.signal(signum, self._note)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def sleep(self, seconds: float, descriptors: Iterable[int] = ()) -> None:
        """Sleep until a signal comes, one of the descriptors can be read, or the time is over."""
        if self._reader in readable.wait([self._reader, *descriptors], seconds):
            os.read(self._reader, 4096)

    def wake(self) -> None:
        """End the sleep, from any thread."""
        os.write(self._writer, b"\0")

    def forget(self) -> None:
        """Close what a fork of this process has inherited of it."""
        os.close(self._reader)
        os.close(self._writer)

    def _note(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._last >= SAME_REQUEST:
            self.count += 1
        self._last = now
