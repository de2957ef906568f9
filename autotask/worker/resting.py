"""An idle worker of a host on which enough others listen: it rests, and they call it."""

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import lines, registry
from autotask.processes.lookouts import Call, Lookouts
from autotask.store import listening
from autotask.store.errors import is_outage
from autotask.worker.registration import Registration

logger = logging.getLogger("autotask.worker")

#: Seconds after which a worker that has no place among the others, or could not be called there, tries again.
TRY_AGAIN = 600.0


@dataclass(eq=False, slots=True)
class Rest:
    """Whether this worker rests: then it does not listen. The loop begins and ends that.

    :param held: a worker that holds tasks listens, since somebody may ask to cancel them.
    :param may: whether it may rest at all.
    :ivar is_coming: whether callers are not to choose this worker, because it is about to rest.
    :ivar is_on: whether it rests.
    :ivar is_over: whether the loop has to listen again.
    """

    registration: Registration
    held: Sized
    may: Callable[[], bool]
    is_coming: bool = field(default=False, init=False)
    is_on: bool = field(default=False, init=False)
    is_over: bool = field(default=False, init=False)
    lookouts: Lookouts | None = field(default=None, init=False)
    _known: BaseDatabaseWrapper | None = field(default=None, init=False)
    _try_at: float = field(default=float("inf"), init=False)
    _was_busy: bool = field(default=False, init=False)

    @property
    def keeps_watch(self) -> bool:
        """Whether this worker listens for those that rest."""
        return self.lookouts is not None and self.lookouts.keeps_watch

    def meet(self, connection: BaseDatabaseWrapper) -> Lookouts | None:
        """Return the place of this worker among the others of its host; None if there is none."""
        if self._known is not connection or time.monotonic() >= self._try_at:  # It may be another server by now.
            self.leave()
            try:
                self.lookouts = Lookouts(_place(connection, self.registration), self.registration.id.hex[:12])
            except (OSError, DatabaseError) as error:
                if is_outage(error):
                    raise
                logger.debug("This worker listens for itself: %s", error)
                self._try_at = time.monotonic() + TRY_AGAIN
            self._known = connection
        return self.lookouts

    def give_up(self) -> list[Call]:
        """Rest no more, and leave the others for a while, since this worker cannot be called; return the last calls."""
        known = self._known
        calls = self.leave()
        self._known, self._try_at = known, time.monotonic() + TRY_AGAIN
        return calls

    def may_begin(self) -> bool:
        """Whether callers choose this worker no longer, as far as the register says; if not, have the next beat say so."""
        was_coming, self.is_coming = self.is_coming, True
        return was_coming and not self.registration.line

    def end(self) -> list[Call]:
        """Rest no more; return the last calls."""
        self.is_coming = self.is_on = self.is_over = False
        return [] if self.lookouts is None else self.lookouts.rise()

    def leave_post(self) -> None:
        """Leave it to another worker to be a lookout: this one hears nothing."""
        if self.lookouts is not None:
            self.lookouts.leave_post()

    def leave(self) -> list[Call]:
        """Rest no more, and leave the others; return the last calls."""
        calls = self.end()
        lookouts, self.lookouts, self._known, self._try_at = self.lookouts, None, None, float("inf")
        if lookouts is not None:
            lookouts.close()
        return calls

    def look_round(self) -> bool:
        """Relieve a lookout, or be relieved; return whether the loop has to listen again. A service calls this now and then."""
        lookouts, busy = self.lookouts, bool(self.held)
        was_busy, self._was_busy = self._was_busy, busy
        if lookouts is None:
            return False
        if busy and was_busy:
            lookouts.leave_post()
        if not self.is_on or self.is_over:
            return False
        self.is_over = was_busy if busy else lookouts.take_post()
        return self.is_over


def _place(connection: BaseDatabaseWrapper, registration: Registration) -> str:
    """Return the path of a folder that workers share if one that listens hears all that concerns another one."""
    mine = registration.identity
    same = (
        *(listening.database(connection), mine.host, mine.boot_id, _clock()),
        *(mine.kind, mine.queues, mine.executors, mine.version, lines.current().mark),
        *sorted(
            definition.name for definition in registry.definitions()
        ),  # Workers with new code may know further tasks.
    )
    digest = hashlib.sha256(repr(same).encode()).hexdigest()[:16]
    return os.path.join(tempfile.gettempdir(), f"autotask-{os.geteuid()}-{digest}.rest")


def _clock() -> str:
    """Identify the monotonic clock: a namespace may have one of its own."""
    try:
        return os.readlink("/proc/self/ns/time")
    except OSError:
        return ""
