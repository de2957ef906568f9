"""Service: look by the rules in AUTOTASK_ALERTS for incidents, one worker of the site at a time."""

import logging
import random

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.notifications.alerts import delivery, looking
from autotask.store import incidents

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks of the site.
EVERY = 15.0


class Alerter:
    """Looks for incidents, if it is the turn of this worker, and enqueues the task that announces them.

    :param queue: a queue that this worker serves, for that task.
    """

    doing = "look for incidents"

    def __init__(self, queue: str) -> None:
        self._queue = queue

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look, unless another worker has done so a moment ago."""
        if incidents.take_turn(connection, EVERY):
            new, over = looking.look(connection)
            for text in new:
                logger.warning("Alert: %s", text)
            for text in over:
                logger.info("Over: %s", text)
            if incidents.are_pending(connection):
                delivery.begin(self._queue)
        # A little longer than the turn: so a request for it seldom fails.
        return EVERY * random.uniform(1.0, 1.2)
