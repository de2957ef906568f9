"""What tests of all kinds share: waiting for conditions, and short ways to look at tasks."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = 20.0, what: str = "the condition") -> T:
    """Return the first true value of the condition.

    :raises AssertionError: it did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s; last value: {value!r}")
        time.sleep(0.02)
    return value
