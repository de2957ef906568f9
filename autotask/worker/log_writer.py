"""A log file of one task, which is rotated when it has become large."""

import logging
import os
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from autotask import log_files
from autotask.texts.lines import describe, one_line

logger = logging.getLogger("autotask.worker")

#: Seconds between two log lines about files that cannot be written.
SAY_EVERY = 60.0

#: Seconds that a line waits for another one of the same task. Then it is dropped: the disk hangs.
PATIENCE = 2.0

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class LogFolder:
    """The folder of all files, and how large they may become.

    :ivar size: bytes of one file.
    :ivar backups: how many earlier files of a task are kept.
    """

    path: Path
    size: int
    backups: int


class LogWriter:
    """Appends lines to the file of one task. Any thread may call it; it never raises.

    :param key: another name by which people look for the file; None: there is none.
    """

    __slots__ = ("_descriptor", "_folder", "_id", "_key", "_lock", "_size", "_torn")

    def __init__(self, folder: LogFolder, id: uuid.UUID, key: str | None = None) -> None:
        self._folder = folder
        self._id = id
        self._key = key
        # Reentrant: an interruption may hit the thread between taking the lock and letting it go.
        self._lock = threading.RLock()
        self._descriptor = -1
        self._size = 0
        self._torn = False

    def write(self, line: str) -> None:
        """Append a line."""
        if not self._lock.acquire(timeout=PATIENCE):
            return
        try:
            data = line.encode(errors="backslashreplace") + b"\n"
            if self._descriptor < 0:
                self._open()
            elif self._size and self._size + len(data) > self._folder.size:
                self._rotate()
            self._append(b"\n" + data if self._torn else data)
        except OSError as error:
            complain(log_files.path_of(self._folder.path, self._id), error)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the file; a later line opens it again."""
        if self._lock.acquire(timeout=PATIENCE):
            try:
                self._close()
            finally:
                self._lock.release()

    def _open(self) -> None:
        path = log_files.path_of(self._folder.path, self._id)
        try:
            self._descriptor = os.open(path, _FLAGS, 0o640)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)  # Somebody has deleted the folder.
            self._descriptor = os.open(path, _FLAGS, 0o640)
        self._size = os.fstat(self._descriptor).st_size
        if self._size >= self._folder.size:
            self._rotate()
        if self._key is not None:
            self._link(self._key)

    def _link(self, key: str) -> None:
        try:
            log_files.link(self._folder.path, key, self._id)
        except OSError as error:  # The lines are in the file with the id.
            complain(log_files.link_of(self._folder.path, key), error)

    def _rotate(self) -> None:
        path = log_files.path_of(self._folder.path, self._id)
        # Another process may have done it: that of an earlier attempt that still runs.
        if _is_at(self._descriptor, path):
            for number in range(self._folder.backups, 0, -1):
                earlier = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
                if earlier.exists():
                    earlier.replace(path.with_name(f"{path.name}.{number}"))
            if not self._folder.backups:
                path.unlink()
        self._close()
        self._descriptor = os.open(path, _FLAGS, 0o640)
        self._size = os.fstat(self._descriptor).st_size

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._size += written
            self._torn = written < len(rest)  # The next line does not continue half of this one.
            rest = rest[written:]

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def complain(path: Path, error: OSError) -> None:
    """Log that a file cannot be written, at most once in a while."""
    global _said_at
    now = time.monotonic()
    if now - _said_at >= SAY_EVERY:
        _said_at = now
        logger.error("Lines of tasks are lost, since %s cannot be written: %s", path, one_line(describe(error)))


_said_at = float("-inf")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        here, there = os.fstat(descriptor), os.stat(path)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
