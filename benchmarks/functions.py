"""The measured task functions, for autotask."""

import time

from autotask.tasks import delayed_task
from benchmarks import probe


@delayed_task
def nothing(number: int) -> int:
    """Only record that it has begun."""
    return probe.hit(number)


@delayed_task
def sleep_1ms(number: int) -> int:
    """Wait for a moment."""
    probe.hit(number)
    time.sleep(0.001)
    return number


@delayed_task
def sleep_10ms(number: int) -> int:
    """Wait as if for the answer of a server."""
    probe.hit(number)
    time.sleep(0.01)
    return number


@delayed_task
def compute_2ms(number: int) -> int:
    """Use a CPU for two milliseconds."""
    probe.hit(number)
    end = time.thread_time() + 0.002
    while time.thread_time() < end:
        pass
    return number
