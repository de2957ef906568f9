"""The background workers of a worker: hosts them while it works, and ends them when it stops. Without any, it costs nothing."""

import importlib
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import registry
from autotask.conf import settings
from autotask.store import background
from autotask.task import BACKGROUND, ClaimedTask
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.writes import Record

if TYPE_CHECKING:
    from autotask.worker.background.hosting import Hosting

logger = logging.getLogger("autotask.worker")

#: Seconds between two checks whether all instances have ended.
LOOK_EVERY = 0.02

#: Seconds that interrupted instances get to end.
TO_STOP = 0.2


class Caretaker:
    """Starts and stops what looks after background workers, if the code has any.

    :param serves: returns whether a queue is served.
    :param count: called with the recorded outcomes of messages; None: nobody counts them.
    """

    def __init__(
        self,
        registration: Registration,
        reporter: Reporter,
        serves: Callable[[str], bool],
        count: Callable[[Sequence[Record]], None] | None = None,
    ) -> None:
        self._parts = registration, reporter, serves, count
        self._hosting: Hosting | None = None

    def start(self) -> None:
        """Begin to host background workers."""
        if not settings.IS_ACTIVE or not any(
            definition.executor == BACKGROUND for definition in registry.definitions()
        ):
            return
        # Imported here: most sites have no background workers, and their workers need none of this.
        module = importlib.import_module("autotask.worker.background.hosting")
        try:
            self._hosting = module.Hosting(*self._parts)
            self._hosting.start()
        except RuntimeError as error:  # no more threads
            logger.error("No background workers run here, since there are no threads left: %s", error)
            self._hosting = None

    def listens(self) -> bool:
        """Whether a connection of theirs listens."""
        return self._hosting is not None

    def look(self) -> None:
        """Look at once: this worker has a new name, or others have died."""
        if self._hosting is not None:
            self._hosting.look()

    def message(self, name: str) -> None:
        """Have the hosts of a background worker look for messages: the Django process of this worker has put one."""
        if self._hosting is not None:
            self._hosting.message(name)

    def hand(self, name: str, task: ClaimedTask) -> bool:
        """Give a message that is stored as claimed to the host of a background worker; return False if it is not here."""
        return self._hosting is not None and self._hosting.hand(name, task)

    def doubt(self) -> None:
        """Have the hosts release messages that are claimed for them without their knowledge."""
        if self._hosting is not None:
            self._hosting.doubt()

    def cancel(self, ids: Sequence[uuid.UUID]) -> None:
        """Note that messages should be cancelled."""
        if self._hosting is not None:
            self._hosting.cancelled.update(ids)

    def tell(self, connection: BaseDatabaseWrapper) -> None:
        """Have all workers look, if there are background workers: some host has died or left."""
        if self._hosting is not None:
            background.tell(connection)

    def ask_to_stop(self) -> None:
        """Take nothing new, and have all instances end after their current runs."""
        if self._hosting is not None:
            self._hosting.care.ask_all()
            self._hosting.look()

    def drain(self, seconds_left: Callable[[], float]) -> bool:
        """Wait for the instances until the grace is over, and interrupt the rest; return whether all have ended."""
        hosting = self._hosting
        if hosting is None:
            return True
        while hosting.care.running() and seconds_left() > 0:
            time.sleep(LOOK_EVERY)
        for instance in hosting.care.running():
            instance.interrupt()
        deadline = time.monotonic() + TO_STOP
        while hosting.care.running() and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
        left = [instance.worker.name for instance in hosting.care.running()]
        if left:
            logger.warning("Background workers do not stop, and end with this process: %s", ", ".join(left))
        return not left

    def stop(self, seconds: float) -> None:
        """Give up the instances, so that other workers can take them at once."""
        if self._hosting is not None:
            self._hosting.stop(seconds)
