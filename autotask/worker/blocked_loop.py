"""The watch over the event loop of the coroutines: log which task blocks it, and where."""

import logging

from autotask.task import ClaimedTask
from autotask.worker.pools.coroutines import CoroutinePool

logger = logging.getLogger("autotask.worker")

#: Seconds without an answer after which a blocked event loop is logged.
SAY_AFTER = 2.0

#: Looks without an answer before that: a process that was stopped as a whole has had no time to answer.
LOOKS = 3


class BlockedLoop:
    """Notices that a coroutine blocks the event loop instead of awaiting, and that this is over.

    :param pool: the coroutines.
    """

    def __init__(self, pool: CoroutinePool[ClaimedTask]) -> None:
        self._pool = pool
        self._looks = 0
        self._longest = 0.0

    def look(self) -> None:
        """Log the first sight of a blocked event loop, and its end. The watch over running tasks calls this."""
        if silent := self._pool.silent_for():
            self._looks += 1
            if self._longest:
                self._longest = silent
            elif silent >= SAY_AFTER and self._looks >= LOOKS:
                self._longest = silent
                self._say(silent)
        else:
            if self._longest:
                logger.info("The event loop answers again, after more than %d s", self._longest)
            self._looks, self._longest = 0, 0.0

    def _say(self, silent: float) -> None:
        task, others = self._pool.current(), len(self._pool.running()) - 1
        logger.warning(
            "%s blocks the event loop of this worker, for %d s so far%s. Await instead, or make the task a plain function, "
            "which runs in a thread. It is at:\n%s",
            f"{task.name} {task.id}" if task else "A coroutine",
            silent,
            f", and {others} {'coroutines wait' if others > 1 else 'coroutine waits'} for it" if others > 0 else "",
            self._pool.where(),
        )
