"""Run a job in an executor of the project, in any process: set Django up if need be, then run it."""

import threading

from autotask import django_setup
from autotask.context import Progress, StopRequest
from autotask.store.finish import Outcome
from autotask.store.progress import Claim
from autotask.worker import job, log_capture
from autotask.worker.job import Job
from autotask.worker.outcome import Released

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


def run(settings_module: str, function: str, work: Job) -> Outcome | Released:
    """Run a job. Never raises, once Django is set up.

    :param settings_module: the settings of the worker that sent it.
    :param function: sets Django up as in that worker; see :mod:`autotask.django_setup`.
    """
    with _setting_up:
        django_setup.set_up(function, settings_module)
        log_capture.start_once()
    return job.run(work, Untold(), StopRequest())
