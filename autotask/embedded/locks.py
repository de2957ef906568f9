"""Locks on files, which the kernel gives back however their holder dies.

``flock`` belongs to an open file, not to a process: a forked child shares its parent's lock and keeps it alive as
long as it lives itself, while a program started with ``exec`` has none of it, because Python's descriptors close there.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX


def open_file(path: Path) -> int:
    """A descriptor to lock ``path`` by, making the file where it is missing."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)  # made by root in a folder of ours


def take(path: Path, kind: int) -> int:
    """Lock ``path``, waiting for it as long as it takes; returns the descriptor that holds it."""
    while True:
        descriptor = open_file(path)
        fcntl.flock(descriptor, kind)
        if is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # the file was deleted while we waited: its lock no longer means anything


def attempt(path: Path, seconds: float = 0) -> int | None:
    """Lock ``path`` alone within ``seconds``; None where others keep it."""
    descriptor = open_file(path)
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.02)


def release(descriptor: int) -> None:
    """Give a lock back, also where a forked child has the same open file."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold ``path`` alone for the length of a ``with`` block."""
    descriptor = take(path, EXCLUSIVE)
    try:
        yield
    finally:
        release(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether ``descriptor`` still is the file at ``path``: not closed, not something else, and not deleted."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
