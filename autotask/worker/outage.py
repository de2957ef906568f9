"""Outages of the database: log them once in a while, wait a little longer each time, and log their end."""

import logging
import random
import time

from autotask.store.errors import is_outage
from autotask.texts.lines import describe, one_line

logger = logging.getLogger("autotask.worker")

FIRST_WAIT = 0.1
LONGEST_WAIT = 3.0
SAY_EVERY = 5.0


class Outage:
    """The outages that one connection of a worker notices.

    :param doing: what cannot be done meanwhile, as text.
    """

    #: When an outage was last logged. It concerns all connections of a worker, so one line is enough.
    _told_at = float("-inf")

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._failures = 0
        self._has_said = False
        self._last_said = float("-inf")

    @staticmethod
    def may_tell() -> bool:
        """Whether it is time for another line about the database; the caller then logs it."""
        now = time.monotonic()
        if now - Outage._told_at < SAY_EVERY:
            return False
        Outage._told_at = now
        return True

    def failed(self, error: Exception) -> float:
        """Note that a statement failed.

        :returns: seconds to wait before the next try.
        """
        self._failures += 1
        now = time.monotonic()
        if is_outage(error):
            if Outage.may_tell():
                self._has_said = True
                logger.warning("Cannot %s, will try again: %s", self._doing, one_line(describe(error)))
        elif now - self._last_said >= SAY_EVERY:
            self._last_said, self._has_said = now, True
            logger.exception("Cannot %s, will try again", self._doing)
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(self._failures - 1, 10))
        return wait * random.uniform(0.8, 1.2)

    def succeeded(self) -> None:
        """Note that a statement succeeded."""
        if self._failures:
            if self._has_said:
                logger.info("Can %s again, after %d failed tries", self._doing, self._failures)
            self._failures, self._has_said = 0, False
            self._last_said = float("-inf")
