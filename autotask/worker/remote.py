"""What an executor of the project runs, in whatever process it likes: set Django up if need be, then run the job."""

import os
import threading

import django
from django.apps import apps

from autotask.context import Progress, StopRequest
from autotask.store.finish import Outcome
from autotask.store.progress import Claim
from autotask.worker import job
from autotask.worker.job import Job
from autotask.worker.outcome import GiveBack

_setting_up = threading.Lock()


class Untold:
    """Keeps what a task says of its progress, which nobody hears of before its end."""

    def __init__(self) -> None:
        self._last: Progress | None = None

    def report(self, claim: Claim, said: Progress) -> None:
        """Keep it."""
        self._last = said

    def last_word(self, claim: Claim) -> Progress | None:
        """Return what was said last."""
        return self._last


def run(settings_module: str, work: Job) -> Outcome | GiveBack:
    """Run a job. Never raises, once Django is set up.

    :param settings_module: the settings of the worker that has sent it.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
    with _setting_up:
        if not apps.ready:
            django.setup()
    return job.run(work, Untold(), StopRequest())
