"""Whether files of modules have changed since this process has imported them; standard library only. Linux only."""

import os
import sys
import time
from collections.abc import Iterator

#: The facts that distinguish a file from another one, and from a newer version of itself.
_Version = tuple[int, int, int, int]


class CodeFiles:
    """The files of all modules that this process has imported until now."""

    def __init__(self) -> None:
        self._began = _began()
        # Copies of the paths, which lie together: each of the others is next to its module, in a page that forks share, and
        # which looking at it would copy.
        paths = map(os.fsencode, set(_paths()))
        self._versions = {path: version for path in paths if (version := _version(path)) is not None}

    def changed(self) -> str:
        """Return the path of a file that is not what this process has imported; "" if there is none."""
        changed = (path for path, version in self._versions.items() if self._is_other(path, version))
        return os.fsdecode(next(changed, b""))

    def _is_other(self, path: bytes, version: _Version) -> bool:
        # It may have changed after it was imported, and before its version was noted.
        return _version(path) != version or version[-1] > self._began


def _paths() -> Iterator[str]:
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            yield path


def _version(path: bytes) -> _Version | None:
    try:
        found = os.stat(path)
    except OSError:
        return None  # in an archive, for example
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _began() -> int:
    """Return when this process began, in nanoseconds of the clock of files.

    Source: proc(5), /proc/pid/stat, field 22 (starttime), counted after the name, which may contain anything.
    """
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - (ticks + 1) / os.sysconf("SC_CLK_TCK")
    return time.time_ns() - int(age * 1e9)
