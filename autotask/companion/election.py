"""One active companion per host, the others standing by on locks of files; standard library only.

There are two locks: who holds the first one works, who holds the second one is next. Only the next one has set Django up;
the others wait before that, and cost as little as a bare interpreter.
"""

import contextlib
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable

#: Seconds between two looks of the next one, whether it may begin to work.
NEXT_LOOKS_EVERY = 0.05

#: Seconds between two looks of the others, whether one of them may be the next one.
OTHERS_LOOK_EVERY = 0.5

#: Seconds between two times at which the active one makes its files look new: what clears away old temporary files leaves
#: them then. systemd's does that after ten days, others after some hours at the least.
TOUCH_EVERY = 1800.0


class Candidate:
    """A worker that wants to be the one that works.

    Locks of POSIX: they belong to the process and to none that it forks, and the kernel takes them back however it ends.

    :param path: what the names of the two files begin with; the same for all candidates.
    :raises OSError: the files cannot be made, or could be somebody else's.
    """

    def __init__(self, path: str) -> None:
        self._active = _Lock(f"{path}.active")
        try:
            self._next = _Lock(f"{path}.next")
        except OSError:
            self._active.close()
            raise

    def wait_to_be_next(self) -> None:
        """Wait until only the worker that is active comes before this one."""
        _wait(self._next, OTHERS_LOOK_EVERY)

    def wait_to_be_active(self, stand_by: Callable[[], None]) -> None:
        """Wait until no worker comes before this one; another one can be next then.

        :param stand_by: is called if it has to wait.
        """
        if not self._active.take():
            stand_by()
            _wait(self._active, NEXT_LOOKS_EVERY)
        self._next.release()
        threading.Thread(target=self._keep_young, name="autotask-election", daemon=True).start()

    def make_way(self) -> None:
        """Let the next one begin: this one takes no more tasks."""
        self._active.release()

    def close(self) -> None:
        """Give up, whatever was reached."""
        self._active.close()
        self._next.close()

    def _keep_young(self) -> None:
        while True:
            self._active.touch()
            self._next.touch()
            time.sleep(TOUCH_EVERY)


class _Lock:
    """A lock of a file that others may remove."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = _open(path)

    def take(self) -> bool:
        """Take the lock if nobody has it; return whether it is taken."""
        while self._take():
            if self._is_in_place():
                return True
            # Whoever comes next would take the lock of a new file. This process has no lock of that one yet, which
            # closing any of its descriptors would give up.
            try:
                renewed = _open(self._path)
            except OSError:
                return True  # as long as no file can be made there, this lock is the only one there is
            os.close(self._descriptor)
            self._descriptor = renewed
        return False

    def release(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def touch(self) -> None:
        """Let the file look as if it were new."""
        with contextlib.suppress(OSError):
            os.utime(self._path, follow_symlinks=False)

    def close(self) -> None:
        os.close(self._descriptor)

    def _take(self) -> bool:
        # Some systems say EACCES and not EAGAIN.
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False


def _wait(lock: _Lock, seconds: float) -> None:
    while not lock.take():
        time.sleep(seconds)


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(descriptor)
    # In a folder that all may write to, somebody else may have been there first, to keep us waiting.
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise PermissionError(f"{path} belongs to somebody else")
    return descriptor
