"""The whole way: calls and coroutines of one process, and a worker that is another one and finds the tasks by their path."""

import asyncio
import datetime

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from autotask.django_tasks import TaskResultStatus
from tests.helpers import wait_until
from tests.integration.django_tasks import tasks
from tests.integration.worker.conftest import start_processes  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_process_runs_what_is_enqueued_in_every_way(start_processes, tmp_path):  # noqa: F811
    # Given
    order, moment = tmp_path / "order", timezone.now() + datetime.timedelta(seconds=1)
    results = {
        "low": tasks.urgent.using(priority=-5).enqueue(str(order), "low"),
        "high": tasks.urgent.using(priority=50).enqueue(str(order), "high"),
        "later": tasks.echo.using(run_after=moment).enqueue("later"),
        "retried": tasks.fail_until.enqueue(str(tmp_path / "calls"), 3),
        "failed": tasks.fail_with_context.enqueue(),
        "coroutine": async_to_sync(tasks.double.aenqueue)(21),
        "context": async_to_sync(tasks.look_around_async.aenqueue)(word="hello"),
    }

    # When
    start_processes(1, "--threads=1")
    for result in results.values():
        wait_until(lambda result=result: result.refresh() or result.is_finished)

    # Then
    assert order.read_text().split() == ["high", "low"]
    assert results["later"].started_at >= moment
    values = {name: result.return_value for name, result in results.items() if name != "failed"}
    assert values == {
        "low": None,
        "high": None,
        "later": "later",
        "retried": 3,
        "coroutine": 42,
        "context": [1, "RUNNING", {"word": "hello"}, "hello"],
    }
    assert (results["retried"].attempts, len(results["retried"].errors)) == (3, 2)
    assert (results["failed"].status, len(results["failed"].errors)) == (TaskResultStatus.FAILED, 2)
    assert len({id for result in results.values() for id in result.worker_ids}) == 1
    assert async_to_sync(_refreshed)(results["coroutine"]) == 42


async def _refreshed(result):
    await asyncio.wait_for(result.arefresh(), 10)
    return result.return_value
