"""When the watch asks or interrupts a running task."""

import pytest

from autotask.exceptions import CancelRequested, TimeLimitExceeded, WorkerStopping
from autotask.worker.watch import TO_BE_CANCELLED, judge

CALM = {"limit": 10.0, "cancelled_for": None, "patience": 1.0, "stopping": False, "over": False}


@pytest.mark.parametrize(
    ("ran", "changed", "verdict"),
    [
        (5, {}, None),
        (10, {}, TimeLimitExceeded),
        (5, {"cancelled_for": 0.5}, TO_BE_CANCELLED),
        (5, {"cancelled_for": 1.0}, CancelRequested),
        (5, {"cancelled_for": 0.0, "patience": 0.0}, CancelRequested),
        (5, {"cancelled_for": 0.5, "over": True}, CancelRequested),
        (5, {"stopping": True}, "its worker stops"),
        (5, {"stopping": True, "over": True}, WorkerStopping),
        (5, {"stopping": True, "cancelled_for": 0.5}, TO_BE_CANCELLED),
        (11, {"over": True}, TimeLimitExceeded),
        (11, {"cancelled_for": 5.0}, TimeLimitExceeded),
    ],
)
def test_a_task_is_asked_before_it_is_interrupted_and_its_time_limit_comes_first(ran, changed, verdict):
    found = judge(ran, **CALM | changed)
    assert found == verdict or type(found) is verdict


def test_the_time_limit_says_how_long_it_was():
    assert str(judge(7200.0, **CALM | {"limit": 3600.0})) == "timed out after 3600 s"
