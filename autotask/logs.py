"""The log of a task, for commands, the admin and the API."""

import os
import uuid
from pathlib import Path

from autotask import log_files
from autotask.conf import settings
from autotask.log_files import LogText

#: In bytes: as much as a page shows.
PAGE = 64 * 1024


def folder() -> Path | None:
    """Return the folder with the log files of tasks; None: there are none."""
    return Path(path) if (path := settings.LOG_DIR) else None


def read(id: uuid.UUID, most: int = PAGE) -> LogText | None:
    """Return the last lines that a task has logged on this host.

    :param most: bytes to read. Earlier lines are left out, and :attr:`LogText.is_all` is False.
    :returns: None if there is no file: ``AUTOTASK_LOG_DIR`` is not set, no worker of this host has run the task, or it was
        pruned.
    :raises OSError: the file cannot be read, for example because it belongs to another user.
    """
    where = folder()
    return None if where is None else log_files.read(where, id, most)


def why_unwritable(where: Path) -> str:
    """Return why this process cannot write files in a folder, or make it; "" if it can. Nothing is written."""
    try:
        there = next(each for each in (where, *where.parents) if each.exists())
        if not there.is_dir():
            return f"{there} is not a folder"
    except OSError as error:  # A folder above it is closed to this user.
        return f"{where}: {error.strerror}"
    # Of the user as which the process acts, where the system can tell.
    effective = os.access in os.supports_effective_ids
    if os.access(there, os.W_OK | os.X_OK, effective_ids=effective):
        return ""
    return f"this user may not write in {there}" + ("" if there == where else ", to make it there")
