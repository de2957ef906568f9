"""AUTOTASK_IMMEDIATE: a call runs its task at once, with all its retries."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from django.test.utils import override_settings

from autotask.conf import settings
from autotask.store.enqueue import NewTask
from autotask.store.finish import Outcome
from autotask.testing.runner import Runner


def immediate(*, raise_errors: bool = False) -> AbstractContextManager[Any]:
    """Make each call inside the block run its task at once, in place, as a worker would.

    ::

        with immediate():
            handle = send_report(42)
        assert handle.status == DONE

    Arguments and results are pickled, errors recorded, retries made; only nothing is waited for: a task with a delay runs
    at once, and so does each retry. A task that snoozes stays as it is. Also a decorator of functions and of test classes
    of Django.

    :param raise_errors: where a task ends in ERROR, the call raises what the function has raised.
    """
    return override_settings(AUTOTASK_IMMEDIATE="raise" if raise_errors else True)


def run(tasks: Sequence[NewTask]) -> None:
    """Run tasks that were stored just now until each has ended, or snoozes."""
    runner = Runner()
    with runner.signed_on():
        for task in tasks:
            _run_to_its_end(runner, task)


def _run_to_its_end(runner: Runner, task: NewTask) -> None:
    # Whoever does not wait for it: another one was faster, or the task has cancelled itself.
    while (ran := runner.run(task.id)) is not None:
        if ran.again_after is None or not isinstance(ran.ended, Outcome):
            if settings.IMMEDIATE == "raise":
                ran.raise_error()
            return
