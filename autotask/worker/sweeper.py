"""Service: look after held tasks, whatever else went wrong."""

import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import expiring, sweep
from autotask.store.survey import Chore
from autotask.worker.chores import Chores

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

    :param chores: say whether there are held tasks, marks, slots or buckets at all.
    :param wake: called when gates were marked.
    """

    doing = "look after held tasks"

    def __init__(self, chores: Chores, wake: Callable[[], None]) -> None:
        self._chores = chores
        self._wake = wake
        self._after = ""
        self._expire_at = float("inf")
        self._distant_at = float("-inf")
        self._delete_at = time.monotonic() + settings.CLEAN_INTERVAL

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Mark one piece of the gates, end one of the expired tasks, and now and then delete; if there is anything of that kind."""
        now = time.monotonic()
        if (Chore.HELD in self._chores or now >= self._expire_at) and self._sweep(connection, now):
            return PAUSE
        if Chore.GATES in self._chores and now >= self._delete_at:
            if sweep.delete(connection):
                return PAUSE
            self._chores.done(Chore.GATES)
            self._delete_at = time.monotonic() + settings.CLEAN_INTERVAL
        at = min(self._expire_at, self._delete_at) if Chore.GATES in self._chores else self._expire_at
        return min(settings.LEASE, max(0.0, at - time.monotonic()))

    def _sweep(self, connection: BaseDatabaseWrapper, now: float) -> bool:
        """Return whether there may be more."""
        distant = now >= self._distant_at
        self._after, marked, expires = sweep.mark(connection, self._after, distant=distant)
        if distant:
            self._distant_at = now + DISTANT_EVERY
        ended = expiring.end(connection) if expires is not None and expires <= 0 else 0
        if marked or ended:
            self._wake()
        if self._after or ended == expiring.PIECE:
            return True
        self._chores.done(Chore.HELD)
        self._expire_at = float("inf") if expires is None else time.monotonic() + max(expires, EXPIRE_EVERY)
        return False
