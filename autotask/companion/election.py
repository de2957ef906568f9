"""One active companion per host, with the others standing by on file locks; standard library only.

There are two locks: the holder of the first one works, the holder of the second one is next. Only these two have set Django
up; the others wait before that, and cost as little as a bare interpreter.
"""

import threading
import time
from collections.abc import Callable

from autotask.processes.file_locks import FileLock

#: Seconds between two tries of the next one to become active.
NEXT_LOOKS_EVERY = 0.05

#: Seconds between two tries of the others to become the next one.
OTHERS_LOOK_EVERY = 0.5

#: Seconds after which the active one touches its files again, so that cleaners of old temporary files leave them. systemd
#: deletes them after ten days, others after some hours at the earliest.
TOUCH_EVERY = 1800.0


class Candidate:
    """A worker that wants to be the active one.

    POSIX locks belong to the process and not to its forks, and the kernel releases them however the process ends.

    :param path: the names of the two files without their suffixes; the same for all candidates.
    :raises OSError: the files cannot be created, or belong to somebody else.
    """

    def __init__(self, path: str) -> None:
        self._active = FileLock(f"{path}.active")
        try:
            self._next = FileLock(f"{path}.next")
        except OSError:
            self._active.close()
            raise

    def wait_to_be_next(self) -> None:
        """Wait until only the active worker is ahead of this one."""
        _wait(self._next, OTHERS_LOOK_EVERY)

    def wait_to_be_active(self, stand_by: Callable[[], None]) -> None:
        """Wait until no worker is ahead of this one, after a call of *stand_by*; then another one can be next."""
        if not self._active.take():
            stand_by()
            _wait(self._active, NEXT_LOOKS_EVERY)
        self._next.release()
        threading.Thread(target=self._keep_young, name="autotask-election", daemon=True).start()

    def step_down(self) -> None:
        """Let the next one become active: this one takes no more tasks."""
        self._active.release()

    def close(self) -> None:
        """Release all locks."""
        self._active.close()
        self._next.close()

    def _keep_young(self) -> None:
        while True:
            self._active.touch()
            self._next.touch()
            time.sleep(TOUCH_EVERY)


def _wait(lock: FileLock, seconds: float) -> None:
    while not lock.take():
        time.sleep(seconds)
