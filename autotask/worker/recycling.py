"""When to recycle a worker: by the number of its tasks, or by its memory."""

import resource
import sys
import time

#: Seconds between two looks at the memory.
LOOK_EVERY = 1.0


class Recycling:
    """The tasks that a worker has taken, and the memory that it uses.

    :param max_tasks: how many tasks it may begin; None: any number.
    :param max_memory: bytes that its process may use; None: any number.
    """

    def __init__(self, max_tasks: int | None, max_memory: int | None) -> None:
        self._max_tasks = max_tasks
        self._max_memory = max_memory
        self._taken = 0
        self._look_at = float("-inf")

    def take(self, number: int) -> None:
        """Add to the number of claimed tasks; subtract, with a negative number, those that are released before they begin."""
        self._taken += number

    def left(self, room: int) -> int:
        """Return the number of tasks that the worker may still claim, *room* at the most."""
        return room if self._max_tasks is None else max(0, min(room, self._max_tasks - self._taken))

    def is_used_up(self) -> bool:
        """Whether the worker may claim no more tasks."""
        return self._max_tasks is not None and self._taken >= self._max_tasks

    def excess(self) -> str:
        """Return by how much the memory exceeds its limit, as text; "" if it does not, or was checked just now."""
        now = time.monotonic()
        # A worker that is too large from its start has to take a task before another such worker replaces it.
        if self._max_memory is None or not self._taken or now < self._look_at:
            return ""
        self._look_at = now + LOOK_EVERY
        used = memory()
        return f"{used / 2**20:.0f} MiB of {self._max_memory / 2**20:.0f} MiB" if used > self._max_memory else ""


def memory() -> int:
    """Return the bytes of memory that this process uses.

    On Linux these are its own pages and its share of those that it shares with other processes, or, where the kernel does
    not report that, all of its pages; elsewhere the most that it ever used.
    """
    return _proportional() or _resident() or _most()


def _proportional() -> int:
    """Source: proc(5), /proc/pid/smaps_rollup, since Linux 4.14; sandboxes may lack it."""
    try:
        with open("/proc/self/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return 0


def _resident() -> int:
    """Source: proc(5), /proc/pid/statm, the second field."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


def _most() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
