"""Locks on files, which the kernel releases however their holder dies.

``flock`` belongs to an open file, not to a process: a forked child shares its parent's lock and keeps it as long as it
lives, while a program started with ``exec`` does not have it, because Python's descriptors close there.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX

SAY_AFTER = 2.0  # seconds of waiting until a line says for which lock

logger = logging.getLogger("autotask.embedded")


def open_file(path: Path) -> int:
    """A descriptor to lock ``path`` with; creates the file if it is missing.

    Nobody else may open it: anyone who can read a file can lock it, and keep everybody waiting.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except PermissionError:
        return _open_to_read(path)
    found = os.fstat(descriptor)
    if os.geteuid() == 0 and found.st_uid == 0:
        owner = os.stat(path.parent)
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    if found.st_mode & 0o077 and os.geteuid() in (0, found.st_uid):
        os.fchmod(descriptor, 0o600)
    return descriptor


def _open_to_read(path: Path) -> int:
    try:
        # It may be root's, from before root gave these files to the owner of the folder.
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except PermissionError as error:
        raise ImproperlyConfigured(
            f"{path} cannot be opened by user {os.geteuid()}: the database in this folder is somebody else's, perhaps "
            f"root's after a start with sudo. Run as that user, or name a folder of your own."
        ) from error


def take(path: Path, kind: int) -> int:
    """Lock ``path``, however long that takes; returns the descriptor that holds the lock."""
    while True:
        descriptor = open_file(path)
        if not _wait(descriptor, kind, SAY_AFTER):
            logger.warning("Waiting for %s", _who_has(descriptor, path))
            fcntl.flock(descriptor, kind)
        if is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the file was deleted while we waited: its lock no longer means anything


def attempt(path: Path, seconds: float = 0) -> int | None:
    """Lock ``path`` exclusively within ``seconds``; None if others keep it."""
    descriptor = open_file(path)
    if _wait(descriptor, EXCLUSIVE, min(seconds, SAY_AFTER)):
        return descriptor
    if seconds > SAY_AFTER:
        logger.warning("Waiting for up to %g s more for %s", seconds - SAY_AFTER, _who_has(descriptor, path))
        if _wait(descriptor, EXCLUSIVE, seconds - SAY_AFTER):
            return descriptor
    os.close(descriptor)
    return None


def release(descriptor: int) -> None:
    """Release a lock, even if a forked child has the same open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` inside a ``with`` block."""
    descriptor = take(path, EXCLUSIVE)
    try:
        yield
    finally:
        release(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether ``descriptor`` is still the file at ``path``: not closed, not another file, and not deleted."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _wait(descriptor: int, kind: int, seconds: float) -> bool:
    """Whether the lock was taken within ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def _who_has(descriptor: int, path: Path) -> str:
    """The lock to wait for, with the processes that hold it if Linux lists them."""
    # The devices there are not always those of stat(), so the inode has to do.
    line = re.compile(rf"FLOCK \s*\S+ \s*\S+ (\d+) \S+:{os.fstat(descriptor).st_ino} ")
    pids: list[str] = []
    with suppress(OSError):
        pids = [found[1] for text in Path("/proc/locks").read_text().splitlines() if (found := line.search(text))]
    have = f"which process {', '.join(pids)} has" if pids else "which another process has"
    return f"the lock of {path}, {have}: the PostgreSQL there is being started or stopped."
