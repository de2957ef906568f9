"""Service: look, with one statement, which rare chores have anything to do."""

import random
import time
from collections.abc import Callable, Iterable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import survey
from autotask.store.survey import Chore
from autotask.worker.chores import Chores
from autotask.worker.registration import Registration

#: The most seconds between two looks. A chore of the loop may wait another five, until that wakes up.
EVERY = 25.0


class Surveyor:
    """Spares an idle worker the statements of chores that have nothing to do, which is nearly always so.

    :param hurry: called with the chores that have to be done as soon as possible.
    :param note_clock: called with the clock of the database and the monotonic moment at which it showed that.
    """

    doing = "look for what went wrong elsewhere"

    def __init__(
        self,
        registration: Registration,
        chores: Chores,
        hurry: Callable[[Iterable[Chore]], None],
        note_clock: Callable[[float, float], None],
    ) -> None:
        self._registration = registration
        self._chores = chores
        self._hurry = hurry
        self._note_clock = note_clock

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look, and have those chores done that have something to do; if that fails, all of them."""
        found: Iterable[Chore] = Chore
        began = time.monotonic()
        try:
            found, clock = survey.look(connection, self._registration.id)
            self._note_clock(clock, (began + time.monotonic()) / 2)
        finally:
            # One table that is locked must not keep what is in the others from being found.
            self._chores.add(found)
            self._hurry(found)
        return min(EVERY, settings.LEASE, settings.CLEAN_INTERVAL) * random.uniform(0.8, 1.0)
