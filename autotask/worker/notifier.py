"""Service: enqueue what tells others of the end of tasks."""

import logging
import time
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.notifications.delivery import calls
from autotask.store import notices
from autotask.store.notices import Delivery, Untold
from autotask.store.survey import Chore
from autotask.task import State
from autotask.worker.chores import Chores

logger = logging.getLogger("autotask.worker")

#: Seconds between two pieces while there is more to enqueue: the other services run in between.
PAUSE = 0.05

#: Seconds by which a look goes back beyond the one before: an end is recorded a little later than it happens.
BACK = 5.0

#: Seconds after which a delivery that no worker takes is cancelled: perhaps none serves its queue now. Until then doctor
#: names the queue.
PATIENCE = 7 * 86_400.0

#: Seconds between two looks for such deliveries.
ABANDON_EVERY = 3600.0

#: The states of deliveries that must not be repeated: cancelled, or failed again and again.
OVER = (State.ERROR, State.CANCELLED)


class Notifier:
    """Enqueues a delivery for each ended task of which somebody should be notified.

    It looks when this worker has ended such a task, then only at the last ends: if a mail server is away, any number of older
    ones may wait for it. Rarely, if there are any, it looks at all: for tasks that ended without a worker, or whose delivery is
    lost. Any number of workers may do this at once.

    :param chores: say whether there is any task of which somebody is still to be notified.
    :param wake: called when deliveries were enqueued.
    """

    doing = "enqueue notices of ended tasks"

    def __init__(self, chores: Chores, wake: Callable[[], None]) -> None:
        self._chores = chores
        self._wake = wake
        # Not infinitely long ago: before version 17, PostgreSQL has no infinite intervals. A survey finds what ended before.
        self._looked_at = time.monotonic()
        # Not at once: if no worker has run for a week, this one takes them now.
        self._abandon_at = time.monotonic() + ABANDON_EVERY

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Enqueue a piece of what there is to tell."""
        now = time.monotonic()
        looks_at_all = Chore.NOTICES in self._chores
        if now >= self._abandon_at:
            notices.abandon(connection, PATIENCE)
            self._abandon_at = now + ABANDON_EVERY
        found = notices.find(connection, lately=None if looks_at_all else now - self._looked_at + BACK)
        for untold in found:
            if untold.former_state in OVER or not untold.waiting:
                _settle(connection, untold)
        new = [untold for untold in found if untold.waiting and untold.former_state not in OVER]
        if notices.begin(connection, list(map(Delivery, new, calls([untold.id for untold in new])))):
            self._wake()
        if len(found) == notices.MOST:
            return PAUSE
        self._looked_at = now
        if looks_at_all:
            self._chores.done(Chore.NOTICES)
        return max(0.0, self._abandon_at - time.monotonic())


def _settle(connection: BaseDatabaseWrapper, untold: Untold) -> None:
    """Forget notices: there are none to send, or their deliveries have failed."""
    how = "was cancelled" if untold.former_state is State.CANCELLED else "has failed"
    why = f"its delivery {how}{': ' if untold.former_error else ''}{untold.former_error}"
    lost = [notices.given_up(notice, why) for notice in untold.waiting]
    notices.settle(connection, untold.id, untold.former, lost, keep=settings.ERROR_TTL if lost else 0)
    for notice in lost:
        logger.error("The %s to %s about task %s is given up: %s", notice.kind, notice.to, untold.id, why)
