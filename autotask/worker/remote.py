"""Run a job in an executor of the project, in any process: set Django up if need be, then run it."""

import threading
from typing import Any

from autotask import django_setup
from autotask.context import Progress, StopRequest
from autotask.store.progress import Claim
from autotask.worker import log_capture
from autotask.worker.job import Work

_setting_up = threading.Lock()


class Untold:
    """Keeps the last progress of a task, which is reported only with its end."""

    def __init__(self) -> None:
        self._last: Progress | None = None

    def report(self, claim: Claim, said: Progress) -> None:
        """Keep it."""
        self._last = said

    def last_word(self, claim: Claim) -> Progress | None:
        """Return the last progress."""
        return self._last


def run(settings_module: str, function: str, work: Work) -> Any:
    """Run a job, and return how it ended. Never raises, once Django is set up.

    :param settings_module: the settings of the worker that sent it.
    :param function: sets Django up as in that worker; see :mod:`autotask.django_setup`.
    """
    with _setting_up:
        django_setup.set_up(function, settings_module)
        log_capture.start_once()
    return work.run(Untold(), StopRequest())
