"""Task functions that leave next to no trace, or one line in a file."""

import atexit
import functools
import gc
import os
import time

from autotask.tasks import delayed_task
from tests import leftovers


@delayed_task
def nothing() -> None:
    """Do nothing."""


@delayed_task
def note(path: str, line: str) -> None:
    """Append one line. The lines of all processes are in the order in which they were written."""
    os.write(_open(path), f"{line}\n".encode())


@delayed_task
def sign(path: str, line: str) -> None:
    """Append a line and the id of the process."""
    os.write(_open(path), f"{line} {os.getpid()}\n".encode())


@delayed_task
def is_fork() -> bool:
    """Whether this process is the fork of one that had loaded the project."""
    return gc.get_freeze_count() > 10_000  # some from the start, with some versions of Python


@delayed_task
def sign_and_wait(path: str, line: str, until: str) -> None:
    """Append a line and the id of the process, and take as long as it takes until there is a file."""
    os.write(_open(path), f"{line} {os.getpid()}\n".encode())
    while not os.path.exists(until):
        time.sleep(0.02)


_hoard: list[bytes] = []


@delayed_task
def hoard(path: str, size: int) -> None:
    """Leak memory."""
    _hoard.append(b"x" * size)
    os.write(_open(path), f"hoard {os.getpid()}\n".encode())


@functools.lru_cache(maxsize=4)
def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@delayed_task
def leave_behind(what: str, path: str) -> None:
    """Leave something behind that keeps an interpreter from ending, and say in which process."""
    # Called last, as those of coverage and Sentry are, which are registered early.
    atexit.register(note.call, path, f"goodbye of {what}")
    leftovers.leave(what, 600)
    sign.call(path, what)
