"""Service: delete the log files of tasks that are no longer in any table."""

import contextlib
import itertools
import os
import random
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import log_files
from autotask.conf import settings
from autotask.store.known import known
from autotask.worker import log_capture
from autotask.worker.log_writer import complain

#: The most files of one piece.
PIECE = 1000

#: Seconds between two pieces: the other services run in between.
PAUSE = 0.05

#: A folder is searched once in this many AUTOTASK_CLEAN_INTERVALs, by one worker of its host.
INTERVALS = 10

#: Its time of change says when a worker last began to go through the folder.
MARK = ".pruned"

#: Seconds after which a file with another name of ours was left by a process that was killed.
FORGOTTEN = 3600.0


class LogPruner:
    """Goes through the folder piece by piece.

    The tables decide, not the deletion of a result: so files go that a killed worker has left, and a worker of another host
    may delete the result. Each host has its own folder, or all have the same one.
    """

    doing = "delete old log files"

    def __init__(self) -> None:
        self._entries: Iterator[os.DirEntry[str]] | None = None

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look at one piece of the folder."""
        folder = log_capture.folder()
        if folder is None:
            return settings.CLEAN_INTERVAL
        try:
            if self._entries is None:
                if (rest := _rest(folder / MARK)) > 0:
                    return rest
                (folder / MARK).touch()
                self._entries = os.scandir(folder)
            piece = list(itertools.islice(self._entries, PIECE))
            _prune(connection, piece)
        except OSError as error:
            complain(folder, error)
            piece = []
        if len(piece) == PIECE:
            return PAUSE
        self._entries = None  # which closes it
        return _interval()


def _prune(connection: BaseDatabaseWrapper, piece: list[os.DirEntry[str]]) -> None:
    files: list[tuple[uuid.UUID, str]] = []
    for entry in piece:
        if (id := log_files.task_of(entry.name)) is not None:
            files.append((id, entry.path))
        elif log_files.is_dangling(entry) or _is_forgotten(entry):
            log_files.delete(entry.path)
    if files:
        kept = known(connection, [id for id, _ in files])
        for id, path in files:
            if id not in kept:
                log_files.delete(path)


def _is_forgotten(entry: os.DirEntry[str]) -> bool:
    if not (entry.name.startswith(".") and entry.name.endswith(".new")):
        return False
    with contextlib.suppress(FileNotFoundError):
        return entry.stat(follow_symlinks=False).st_mtime < time.time() - FORGOTTEN
    return False


def _rest(mark: Path) -> float:
    """Return the seconds until it is time to go through the folder."""
    try:
        since = time.time() - mark.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    # A mark from the future means that the clock was set back.
    return _interval() - since if 0 <= since < INTERVALS * settings.CLEAN_INTERVAL * 0.8 else 0.0


def _interval() -> float:
    return INTERVALS * settings.CLEAN_INTERVAL * random.uniform(0.8, 1.2)
