"""Service: have another idle worker listen where one that did is busy or dead. It needs no statement."""

from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.worker.resting import Rest

#: Seconds between two looks.
EVERY = 0.5


class Relief:
    """Relieves lookouts.

    :param wake: called when the loop has to listen again.
    """

    doing = "listen for other workers"

    def __init__(self, rest: Rest, wake: Callable[[], None]) -> None:
        self._rest = rest
        self._wake = wake

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Look whether a lookout is missing, or this worker should be one no more."""
        if self._rest.look_round():
            self._wake()
        return EVERY
