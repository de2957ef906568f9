"""Messages that were handed to an instance: stored as claimed by its worker, because it had no others."""

import threading
import uuid
from collections.abc import Callable

from autotask.task import ClaimedTask


class Handed:
    """Belongs to one instance. Any thread may call it.

    :param wake: wakes the instance.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._tasks: list[ClaimedTask] = []
        self._is_open = True
        self._in_doubt = False
        self._lock = threading.Lock()

    def put(self, task: ClaimedTask) -> bool:
        """Add a message; return False if no more are taken."""
        with self._lock:
            if not self._is_open:
                return False
            self._tasks.append(task)
        self._wake()
        return True

    def take(self) -> list[ClaimedTask]:
        """Return the messages that have come, and forget them."""
        with self._lock:
            taken, self._tasks = self._tasks, []
            return taken

    def ids(self) -> list[uuid.UUID]:
        """Return the ids of the messages that are here."""
        with self._lock:
            return [task.id for task in self._tasks]

    def close(self) -> None:
        """Take no more: the instance is about to be given up, and what is here is released."""
        with self._lock:
            self._is_open = False
            self._tasks.clear()

    def doubt(self) -> None:
        """Say that some may have got lost on their way here: they are claimed, and must be released."""
        with self._lock:
            self._in_doubt = True
        self._wake()

    def take_doubt(self) -> bool:
        """Return whether some may have got lost since the last time."""
        with self._lock:
            doubt, self._in_doubt = self._in_doubt, False
            return doubt
