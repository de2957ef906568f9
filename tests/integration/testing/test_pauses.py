"""Paused tasks in tests: run_pending() leaves them, immediate() runs them."""

import pytest

from autotask import acts
from autotask.flow import Flow, LimitGate
from autotask.store import enqueue
from autotask.store.connection import current
from autotask.task import DONE, WAITING
from autotask.testing import immediate
from tests.integration.testing import tasks

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("target", [{"task": tasks.add.name}, {"queue": "sums"}, {"everything": True}], ids=str)
def test_a_paused_task_is_not_run_until_it_is_resumed(autotask_captured, target):
    # Given
    acts.pause(**target)
    handle = tasks.add.using(queue="sums")(2, y=3)

    # Then
    assert autotask_captured.drain() == []
    assert handle.status is WAITING
    acts.resume(**target)
    assert autotask_captured.run_pending() == [handle]
    assert handle.status is DONE


@pytest.mark.parametrize("limit", ["sums", "sums(y=3)"])
def test_neither_is_one_that_waits_at_a_paused_limit(autotask_captured, limit):
    # Given
    task = tasks.add.new_call((2,), {"y": 3})
    task = task._replace(flow=Flow((LimitGate("limit:sums(y=3)", "sums", 1),)))
    enqueue.insert_flowing(current(), [task])
    acts.pause(limit=limit)

    # Then
    assert autotask_captured.drain() == []
    acts.resume(limit=limit)
    assert [handle.id for handle in autotask_captured.drain()] == [task.id]


def test_a_call_that_runs_at_once_asks_for_no_pause():
    acts.pause(everything=True)
    with immediate():
        assert tasks.add(2, y=3).status is DONE
