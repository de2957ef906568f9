"""The task functions that are measured."""

import time

from autotask.tasks import delayed_task


@delayed_task
def nothing(number: int) -> None:
    """Do nothing."""


@delayed_task
def clock() -> float:
    """Return when the first line of the function ran, on the clock that processes of one machine share."""
    return time.monotonic()
