"""AUTOTASK_IMMEDIATE: a call runs its task at once, with all its retries."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.test.utils import override_settings

from autotask.conf import settings
from autotask.store.enqueue import NewTask
from autotask.store.finish import Outcome
from autotask.testing.runner import Runner
from autotask.worker.outcome import Advanced


def immediate(*, raise_errors: bool = False) -> AbstractContextManager[Any]:
    """Make each call inside the block run its task at once, in place, as a worker would.

    ::

        with immediate():
            handle = send_report(42)
        assert handle.status == DONE

    Arguments and results are pickled, errors recorded, retries made, but without waiting: a task with a delay runs at
    once, and so does each retry. A task that snoozes stays as it is. It is also a decorator for functions and for Django's
    test classes.

    :param raise_errors: if a task ends in ERROR, the call raises the exception of the function.
    """
    return override_settings(AUTOTASK_IMMEDIATE="raise" if raise_errors else True)


def run(tasks: Sequence[NewTask]) -> None:
    """Run tasks that were just stored until each has ended, or snoozes."""
    runner = Runner()
    with runner.signed_on():
        for task in tasks:
            _run_until_ended(runner, task)


def _run_until_ended(runner: Runner, task: NewTask) -> None:
    # None: another worker was faster, or the task has cancelled itself.
    while (ran := runner.run(task.id)) is not None:
        # The next step of a task follows at once.
        if ran.again_after is None or not isinstance(ran.ended, (Outcome, Advanced)):
            if settings.IMMEDIATE == "raise":
                ran.raise_error()
            return
