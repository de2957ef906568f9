"""Service: delete results whose time to live is over."""

import random

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store.prune import Pruning

#: Seconds between two pieces while there is more to delete: the other services run in between.
PAUSE = 0.05


class Pruner:
    """Deletes old results in small pieces."""

    doing = "delete old results"

    def __init__(self) -> None:
        self._pruning = Pruning()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Delete one piece."""
        if self._pruning.piece(connection).more:
            return PAUSE
        return settings.CLEAN_INTERVAL * random.uniform(0.8, 1.2)
