"""Service: leave to dedicated workers the queues that they serve."""

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import queues
from autotask.store import workers
from autotask.task import THREAD

#: Seconds between two looks at the register.
EVERY = 1.0


class Yielding:
    """The queues that dedicated workers serve now.

    :param changed: called when they have changed.
    """

    doing = "see what dedicated workers serve"

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._dedicated: list[workers.Serving] = []

    def leaves(self, executor: str, queue: str) -> bool:
        """Whether tasks are left to a dedicated worker."""
        return any(
            (executor == THREAD or executor in worker.executors) and queues.serves(worker.queues, queue)
            for worker in self._dedicated
        )

    def leaves_nothing(self) -> bool:
        """Whether there is no dedicated worker to leave anything to."""
        return not self._dedicated

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look at the register."""
        former, self._dedicated = self._dedicated, workers.dedicated(connection)
        if self._dedicated != former:
            self._changed()
        return EVERY
