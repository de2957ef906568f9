"""Service: rescue the tasks of dead workers."""

import logging
import uuid
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import rescue
from autotask.store.survey import Chore
from autotask.store.workers import Neighbour
from autotask.texts.render import count
from autotask.worker.chores import Chores
from autotask.worker.identity import is_gone
from autotask.worker.registration import Registration

logger = logging.getLogger("autotask.worker")

#: Seconds between two looks at the processes of the same host; they cost no statement.
LOOK_EVERY = 0.5

#: This many looks after a burial also look for claims that somebody had locked just then: the last statement of a worker that
#: was killed may still be running.
LOOKS_AFTER = 20


class Rescuer:
    """Rescues the tasks of dead workers: on this host as soon as the process is gone, else when the lease is over.

    :param registration: the entry of this worker, with what the last beat has seen of others.
    :param chores: say whether there are tasks of workers that are not even in the register.
    :param wake: called when tasks have become ready.
    :param reason: how the predecessor of this worker died, if known.
    :param buried: called with the connection when dead workers were removed from the register.
    """

    doing = "look for tasks of dead workers"

    def __init__(
        self,
        registration: Registration,
        chores: Chores,
        wake: Callable[[], None],
        reason: str = "",
        buried: Callable[[BaseDatabaseWrapper], None] = lambda connection: None,
    ) -> None:
        self._registration = registration
        self._chores = chores
        self._seen = registration.others
        self._buried = buried
        self._wake = wake
        self._reason = reason
        self._refused = rescue.refusals()
        self._neighbours: list[Neighbour] = []
        self._again = False
        self._looks = 0

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Rescue the tasks of workers found dead."""
        overdue, seen = False, self._registration.others
        if seen is not self._seen:
            self._seen, self._neighbours, overdue = seen, list(seen.neighbours), seen.overdue
        gone = [neighbour for neighbour in self._neighbours if is_gone(neighbour)]
        if Chore.ORPHANS in self._chores or gone or overdue or self._again:
            self._rescue(connection, [neighbour.id for neighbour in gone])
            self._neighbours = [neighbour for neighbour in self._neighbours if neighbour not in gone]
            self._chores.done(Chore.ORPHANS)
            self._again = self._looks > 0 and rescue.some_are_left(connection)
        return min(LOOK_EVERY, settings.HEARTBEAT)

    def _rescue(self, connection: BaseDatabaseWrapper, gone: list[uuid.UUID]) -> None:
        reason = (self._reason or "its process is gone") if gone else "no sign of life from its worker"
        buried, back, ended = rescue.rescue(
            connection,
            gone,
            reason=reason,
            max_crashes=settings.MAX_CRASHES,
            error_ttl=settings.ERROR_TTL,
            rescuer=self._registration.id,
            refused=self._refused,
        )
        if buried or back or ended:
            logger.warning(
                "%s found (%s): %s rescued, %d ended in ERROR",
                count(buried, "dead worker"),
                reason,
                count(back, "task"),
                ended,
            )
        self._looks = LOOKS_AFTER if buried else max(0, self._looks - 1)
        if gone:
            self._reason = ""
        if buried:
            self._buried(connection)
        if back or ended:  # One that has ended may have freed a slot.
            self._wake()
