"""Service: delete results whose time to live is over, and past tasks that were kept for long enough."""

import random
import time

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import history
from autotask.store.prune import Pruning

#: Seconds between two pieces while there is more to delete: the other services run in between.
PAUSE = 0.05


class Pruner:
    """Deletes old results in small pieces."""

    doing = "delete old results"

    def __init__(self) -> None:
        self._pruning = Pruning(keeps=bool(settings.HISTORY))
        self._trim_at = 0.0

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Delete one piece of the results, and from time to time one of the past tasks."""
        more = self._pruning.piece(connection).more
        if time.monotonic() >= self._trim_at:
            more = self._trim(connection) or more
        return PAUSE if more else settings.CLEAN_INTERVAL * random.uniform(0.8, 1.2)

    def _trim(self, connection: BaseDatabaseWrapper) -> bool:
        more = history.trim(connection, settings.HISTORY or 0.0)
        if not more:
            # Without a history, what an earlier one has left is deleted once.
            self._trim_at = time.monotonic() + 0.8 * settings.CLEAN_INTERVAL if settings.HISTORY else float("inf")
        return more
