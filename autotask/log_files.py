"""The log files in a folder: how they are named, what their last lines are, and what should be deleted."""

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import quote

#: In characters, of the name of a link. A longer one is cut, and ends with its hash.
LONGEST_NAME = 200

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_OF_TASK = re.compile(rf"({_UUID})\.log(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class LogText:
    """The last lines of a task.

    :ivar text: whole lines, oldest first.
    :ivar is_all: whether there are no earlier ones.
    :ivar path: the newest file.
    """

    text: str
    is_all: bool
    path: Path


def path_of(folder: Path, id: uuid.UUID) -> Path:
    """Return the newest file of a task. The earlier ones have the same name and a number, from 1."""
    return folder / f"{id}.log"


def link_of(folder: Path, key: str) -> Path:
    """Return the link for a key by which people know a task. It is always in that folder, whatever the key is."""
    name = quote(key, safe="", errors="surrogatepass") or "%"
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > LONGEST_NAME:
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        name = f"{name[: LONGEST_NAME - 17]}~{digest}"
    return folder / f"{name}.log"


def link(folder: Path, key: str, id: uuid.UUID) -> None:
    """Let the link of a key lead to the file of this task, and no longer to that of an earlier one.

    :raises OSError: it cannot be made.
    """
    path, target = link_of(folder, key), path_of(folder, id).name
    if path.is_symlink():
        if os.readlink(path) == target:
            return
    elif path.exists():
        return  # It is not ours.
    new = folder / f".{uuid.uuid4().hex}.new"
    new.symlink_to(target)
    new.replace(path)  # at once, so that the link is never missing


def files_of(folder: Path, id: uuid.UUID) -> Iterator[Path]:
    """Yield the files of a task that exist, newest first."""
    newest = path_of(folder, id)
    if newest.exists():
        yield newest
    for number in count(1):
        earlier = folder / f"{newest.name}.{number}"
        if not earlier.exists():
            return
        yield earlier


def read(folder: Path, id: uuid.UUID, most: int) -> LogText | None:
    """Return the last lines of a task; None if it has no file here.

    :param most: bytes to read.
    :raises OSError: a file cannot be read.
    """
    files = list(files_of(folder, id))
    pieces: list[bytes] = []
    is_all = True
    for path in files:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # It may have been deleted just now.
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - most))
            pieces.insert(0, file.read(most))
            is_all = size <= most
            most -= len(pieces[0])
        if most <= 0:
            is_all = is_all and path == files[-1]
            break
    if not pieces:
        return None
    text = b"".join(pieces) if is_all else b"".join(pieces).partition(b"\n")[2]
    return LogText(text.decode(errors="replace"), is_all, path_of(folder, id))


def task_of(name: str) -> uuid.UUID | None:
    """Return the task to which a file belongs, by its name; None: it is not one of ours."""
    found = _OF_TASK.fullmatch(name)
    return uuid.UUID(found[1]) if found else None


def is_dangling(entry: os.DirEntry[str]) -> bool:
    """Whether a file is the link of a key whose task no longer has a file."""
    if not entry.is_symlink() or not entry.name.endswith(".log"):
        return False
    return task_of(os.readlink(entry.path)) is not None and not os.path.exists(entry.path)


def delete(path: str) -> None:
    """Delete a file that another process may delete at the same time.

    :raises OSError: it cannot be deleted.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
