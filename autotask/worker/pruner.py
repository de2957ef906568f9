"""Service: delete results whose time to live is over."""

import random

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import prune

#: Rows in one statement, and the pause after a full one, in seconds: heartbeats go in between.
BATCH = 1000
PAUSE = 0.05


class Pruner:
    """Deletes old results in small batches."""

    doing = "delete old results"

    def __init__(self) -> None:
        self._refused = prune.refusals()

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Delete one batch."""
        spared = len(self._refused.spared())
        deleted = prune.prune(connection, BATCH, refused=self._refused)
        if deleted + len(self._refused.spared()) - spared >= BATCH:
            return PAUSE
        return settings.CLEAN_INTERVAL * random.uniform(0.8, 1.2)
