"""One active companion per host, the others standing by on locks of files; standard library only.

There are two locks: who holds the first one works, who holds the second one is next. Only the next one has set Django up;
the others wait before that, and cost as little as a bare interpreter.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable

#: Seconds between two looks of the next one, whether it may begin to work.
NEXT_LOOKS_EVERY = 0.05

#: Seconds between two looks of the others, whether one of them may be the next one.
OTHERS_LOOK_EVERY = 0.5


class Candidate:
    """A worker that wants to be the one that works.

    Locks of POSIX: they belong to the process and to none that it forks, and the kernel takes them back however it ends.

    :param path: what the names of the two files begin with; the same for all candidates.
    :raises OSError: the files cannot be made, or could be somebody else's.
    """

    def __init__(self, path: str) -> None:
        self._active = _open(f"{path}.active")
        self._next = _open(f"{path}.next")

    def wait_to_be_next(self) -> None:
        """Wait until only the worker that is active comes before this one."""
        _wait(self._next, OTHERS_LOOK_EVERY)

    def wait_to_be_active(self, stand_by: Callable[[], None]) -> None:
        """Wait until no worker comes before this one; another one can be next then.

        :param stand_by: is called if it has to wait.
        """
        if not _lock(self._active):
            stand_by()
            _wait(self._active, NEXT_LOOKS_EVERY)
        fcntl.lockf(self._next, fcntl.LOCK_UN)

    def make_way(self) -> None:
        """Let the next one begin: this one takes no more tasks."""
        fcntl.lockf(self._active, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up, whatever was reached."""
        os.close(self._active)
        os.close(self._next)


def _wait(descriptor: int, seconds: float) -> None:
    while not _lock(descriptor):
        time.sleep(seconds)


def _lock(descriptor: int) -> bool:
    # Some systems say EACCES and not EAGAIN.
    with contextlib.suppress(BlockingIOError, PermissionError):
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(descriptor)
    # In a folder that all may write to, somebody else may have been there first, to keep us waiting.
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise PermissionError(f"{path} belongs to somebody else")
    return descriptor
