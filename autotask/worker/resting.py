"""An idle worker of a host on which enough others listen: it rests, and they call it."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sized
from dataclasses import dataclass, field

from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import lines, registry
from autotask.processes.lookouts import Lookouts
from autotask.store import listening
from autotask.worker.registration import Registration

logger = logging.getLogger("autotask.worker")


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
    _was_busy: bool = field(default=False, init=False)

    @property
    def keeps_watch(self) -> bool:
        """Whether this worker listens for those that rest."""
        return self.lookouts is not None and self.lookouts.keeps_watch

    def meet(self, connection: BaseDatabaseWrapper) -> Lookouts | None:
        """Return the place of this worker among the others of its host; None if there is none."""
        if self._known is not connection:  # It may be another server by now.
            self.leave()
            try:
                self.lookouts = Lookouts(_place(connection, self.registration), self.registration.id.hex[:12])
            except (OSError, ProgrammingError) as error:
                logger.debug("This worker listens for itself: %s", error)
            self._known = connection
        return self.lookouts

    def may_begin(self) -> bool:
        """Whether callers choose this worker no longer, as far as the register says; if not, have the next beat say so."""
        was_coming, self.is_coming = self.is_coming, True
        return was_coming and not self.registration.line

    def end(self) -> None:
        """Rest no more."""
        self.is_coming = self.is_on = self.is_over = False
        if self.lookouts is not None:
            self.lookouts.rise()

    def leave(self) -> None:
        """Rest no more, and leave the others."""
        self.end()
        lookouts, self.lookouts, self._known = self.lookouts, None, None
        if lookouts is not None:
            lookouts.close()

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
