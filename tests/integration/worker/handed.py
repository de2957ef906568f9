"""A queue worker for tests of messages that are handed over."""

from autotask.background import background_worker
from tests.gates import wait_at

#: What it was given, in order.
taken = []


@background_worker(queue=True, autostart=False)
def take(value):
    """Note a value; some wait at a gate."""
    taken.append(value)
    if isinstance(value, str):
        wait_at(value)


@background_worker(event=True, autostart=False)
def happen():
    """Note it."""
    taken.append("happened")
