"""The shortest way from a call to its result."""

import pytest

from autotask.task import DONE, WAITING
from autotask.tasks import delayed_task


@delayed_task
def add(x: int, y: int) -> int:
    return x + y


@pytest.mark.django_db(transaction=True)
def test_a_call_waits_until_a_worker_comes(start_worker):
    # Given
    handle = add(2, 3)
    assert (handle.status, handle.ready, handle.result, handle.error_message) == (WAITING, False, None, "")

    # When
    start_worker()

    # Then
    assert handle.wait(timeout=10) == 5
    assert (handle.status, handle.ready, handle.result, handle.error_message) == (DONE, True, 5, "")
