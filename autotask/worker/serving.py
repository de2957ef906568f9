"""The queues that a worker may serve now."""

import functools
from collections.abc import Callable

from autotask.worker.options import WorkerOptions
from autotask.worker.paused import Paused
from autotask.worker.yielding import Yielding


class Serving:
    """The queues that a worker may serve now: not those that are paused or left to dedicated workers. Any thread may ask.

    :param changed: called when others serve other queues than before.
    :ivar paused: what is paused, as far as the loop knows.
    :ivar yielding: what is left to dedicated workers.
    """

    def __init__(self, options: WorkerOptions, changed: Callable[[], None]) -> None:
        self._options = options
        self.paused = Paused()
        self.yielding = Yielding(changed)

    def serves(self, executor: str, queue: str) -> bool:
        """Whether tasks of a queue may begin in an executor."""
        served = self._options.serves(queue) and not self.yielding.leaves(executor, queue)
        return served and not self.paused.bars(queue)

    def in_executor(self, executor: str) -> Callable[[str], bool]:
        """Return the function that says whether tasks of a queue may begin in this executor."""
        return functools.partial(self.serves, executor)

    def serves_all(self) -> bool:
        """Whether any task may begin."""
        return self._options.serves_all() and self.yielding.leaves_nothing() and not self.paused
