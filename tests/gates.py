"""Events by which a test and the tasks of its own process wait for each other."""

import threading

from tests.helpers import patient

_gates: dict[str, threading.Event] = {}


def gate(name: str) -> threading.Event:
    """Return the event by which a test lets tasks go on."""
    return _gates.setdefault(name, threading.Event())


def wait_at(name: str) -> None:
    """Say that a gate is reached, and wait until the test opens it."""
    gate(name + " reached").set()
    if not gate(name).wait(patient(20)):
        raise TimeoutError("the test did not open the gate")


def forget() -> None:
    """Close all gates, for tests that use names again."""
    _gates.clear()
