"""A lock on a file, which the kernel releases however the process ends; standard library only, and not on Windows."""

import contextlib
import fcntl
import os
import stat


class FileLock:
    """A lock on a file that others may remove.

    POSIX locks belong to the process and not to its forks.

    :raises OSError: the file cannot be created, or belongs to somebody else.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = _open(path)

    def take(self) -> bool:
        """Take the lock if it is free; return whether it was taken."""
        while self._take():
            if self._is_in_place():
                return True
            # The next candidate would lock a new file, so this one moves to it. This process has no lock on that yet,
            # which closing any descriptor of it would release.
            try:
                renewed = _open(self._path)
            except OSError:
                return True  # as long as no file can be created there, this lock is the only one
            os.close(self._descriptor)
            self._descriptor = renewed
        return False

    def release(self) -> None:
        """Release the lock."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def touch(self) -> None:
        """Make the file young, so that cleaners of old temporary files leave it."""
        with contextlib.suppress(OSError):
            os.utime(self._path, follow_symlinks=False)

    def close(self) -> None:
        """Release the lock and close the file."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Close the file, and remove it if nobody else has the lock. The next process that needs it makes a new file."""
        with contextlib.suppress(OSError):
            if self._take() and self._is_in_place():
                os.unlink(self._path)
        self.close()

    def _take(self) -> bool:
        # Some systems raise EACCES and not EAGAIN.
        with contextlib.suppress(BlockingIOError, PermissionError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False


def _open(path: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    found = os.fstat(descriptor)
    # In a folder that is writable for all, somebody else may have created the file first, to keep us waiting.
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise PermissionError(f"{path} belongs to somebody else")
    return descriptor
