"""Service: look after held tasks, whatever else went wrong."""

import random
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import expiring, sweep

#: Seconds between two looks at gates that have a mark for a distant moment. An empty bucket must cost nothing, and a rate
#: becomes faster only with new code, whose workers look when they start.
DISTANT_EVERY = 300.0

#: The fewest seconds between two looks for tasks that have expired.
EXPIRE_EVERY = 2.0

#: Seconds between two pieces while there is more to look after: the other services run in between.
PAUSE = 0.05


class Sweeper:
    """Marks gates at which tasks wait, ends those that have expired, and deletes what is left of former ones.

    A worker that frees a slot leaves a mark, so the marks of the sweep matter only where a limit was raised, or a row was
    locked by somebody who then changed their mind.

    :param wake: called when gates were marked.
    """

    doing = "look after held tasks"

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._after = ""
        self._distant_at = float("-inf")
        self._delete_at = time.monotonic() + settings.CLEAN_INTERVAL

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Mark one piece of the gates, end one of the expired tasks, and now and then delete."""
        now = time.monotonic()
        distant = now >= self._distant_at
        self._after, marked, expires = sweep.mark(connection, self._after, distant=distant)
        if distant:
            self._distant_at = now + DISTANT_EVERY
        ended = expiring.end(connection) if expires is not None and expires <= 0 else 0
        if marked or ended:
            self._wake()
        if self._after or ended == expiring.PIECE:
            return PAUSE
        if time.monotonic() >= self._delete_at:
            if sweep.delete(connection):
                return PAUSE
            self._delete_at = time.monotonic() + settings.CLEAN_INTERVAL
        rest = settings.LEASE * random.uniform(0.8, 1.2)
        return rest if expires is None else min(rest, max(expires, EXPIRE_EVERY))
