"""Service: delete results whose time to live is over, and past tasks that were kept for long enough."""

import random
import time

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import history
from autotask.store.prune import Pruning
from autotask.store.survey import Chore
from autotask.worker.chores import Chores

#: Seconds between two pieces while there is more to delete: the other services run in between.
PAUSE = 0.05


class Pruner:
    """Deletes old results in small pieces.

    :param chores: say whether there are any.
    """

    doing = "delete old results"

    def __init__(self, chores: Chores) -> None:
        self._chores = chores
        self._pruning = Pruning(keeps=bool(settings.HISTORY))
        self._prune_at = self._trim_at = float("-inf")

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Delete one piece of the results, and from time to time one of the past tasks."""
        more = Chore.RESULTS in self._chores and time.monotonic() >= self._prune_at and self._prune(connection)
        if time.monotonic() >= self._trim_at:
            more = self._trim(connection) or more
        if more:
            return PAUSE
        at = min(self._trim_at, self._prune_at) if Chore.RESULTS in self._chores else self._trim_at
        return min(settings.CLEAN_INTERVAL, max(0.0, at - time.monotonic()))

    def _prune(self, connection: BaseDatabaseWrapper) -> bool:
        more = self._pruning.piece(connection).more
        if not more:
            self._chores.done(Chore.RESULTS)
            self._prune_at = time.monotonic() + settings.CLEAN_INTERVAL * random.uniform(0.8, 1.2)
        return more

    def _trim(self, connection: BaseDatabaseWrapper) -> bool:
        more = history.trim(connection, settings.HISTORY or 0.0)
        if not more:
            # Without a history, what an earlier one has left is deleted once.
            self._trim_at = time.monotonic() + 0.8 * settings.CLEAN_INTERVAL if settings.HISTORY else float("inf")
        return more
