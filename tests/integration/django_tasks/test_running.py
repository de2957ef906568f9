"""What a caller of Django's tasks sees of them: statuses, values, errors of all attempts, workers."""

import asyncio
import dataclasses
import datetime
import uuid
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from autotask.django_tasks import InvalidTask, TaskResultDoesNotExist, TaskResultStatus, task_backends
from autotask.handle import TaskHandle
from autotask.store import read
from autotask.store.connection import current, execute
from autotask.task import new_id
from autotask.testing import immediate
from tests.helpers import wait_until
from tests.integration.django_tasks import tasks
from tests.integration.worker import tasks as tasks_of_autotask

pytestmark = pytest.mark.django_db(transaction=True)

SUCCESSFUL, FAILED = TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED


def ended(result):
    def has_ended():
        result.refresh()
        return result.is_finished

    wait_until(has_ended, what=f"the end of {result}")
    return result


def test_arguments_and_values_are_whatever_can_be_pickled(worker):
    # Given
    values = [None, [1, {"a": (2, {3})}], Decimal("1.10"), datetime.date(2026, 2, 3), b"\0\xff"]

    # When
    results = [tasks.echo.enqueue(value) for value in values]

    # Then
    for value, result in zip(values, results, strict=True):
        assert (ended(result).status, result.return_value) == (SUCCESSFUL, value)
        again = tasks.echo.get_result(result.id)
        assert (again.args, again.kwargs, again.return_value) == ([value], {}, value)
        assert again.started_at >= again.enqueued_at
        assert again.finished_at >= again.started_at == again.last_attempted_at
        assert (again.attempts, again.worker_ids, again.errors) == (1, result.worker_ids, [])
        assert uuid.UUID(again.worker_ids[0])


def test_a_coroutine_function_is_run(worker):
    assert ended(tasks.double.enqueue(21)).return_value == 42


def test_coroutines_enqueue_and_look_results_up(worker):
    async def ask():
        result = await tasks.look_around_async.aenqueue(word="hello")
        while not result.is_finished:
            await asyncio.sleep(0.02)
            await result.arefresh()
        return result, await tasks.look_around_async.aget_result(result.id)

    result, again = async_to_sync(asyncio.wait_for)(ask(), 10)
    assert result.return_value == again.return_value == [1, "RUNNING", {"word": "hello"}, "hello"]
    assert again.kwargs == {"word": "hello"}


def test_what_enqueue_returns_is_what_get_result_finds():
    result = tasks.echo.using(queue_name="default", priority=3).enqueue([1, 2])
    assert tasks.echo.get_result(result.id) == result
    assert (result.status, result.is_finished, result.attempts) == (TaskResultStatus.READY, False, 0)
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
    with pytest.raises(ValueError, match="not finished"):
        result.return_value  # noqa: B018 - a property


def test_what_enqueue_returns_has_finished_if_tasks_run_at_the_call():
    with immediate():
        result, failed = tasks.echo.enqueue(5), tasks.add_wrong_types.enqueue(5)

    assert (result.status, result.is_finished, result.return_value) == (SUCCESSFUL, True, 5)
    assert (failed.status, failed.errors[0].exception_class) == (FAILED, TypeError)


def test_a_task_exists_if_and_only_if_the_transaction_of_its_caller_commits():
    with pytest.raises(KeyError), transaction.atomic():
        result = tasks.echo.enqueue(1)
        raise KeyError
    with pytest.raises(TaskResultDoesNotExist):
        tasks.echo.get_result(result.id)


def test_the_context_is_that_of_django_and_autotask_has_its_own_beside_it(worker):
    result = ended(tasks.look_around.enqueue())
    assert result.return_value == {
        "attempt": 1,
        "id": result.id,
        "status": "RUNNING",
        "args": [],
        "queue": "default",
        "name": "tests.integration.django_tasks.tasks.look_around",
    }


def test_an_attempt_that_failed_is_followed_by_others_and_its_error_stays(worker, tmp_path):
    # When
    result = ended(tasks.fail_until.enqueue(str(tmp_path / "calls"), 3))

    # Then
    assert (result.status, result.return_value, result.attempts) == (SUCCESSFUL, 3, 3)
    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    assert "ValueError: call 2" in result.errors[1].traceback
    assert result.started_at < result.last_attempted_at < result.finished_at
    assert result.metadata == {"state": "done", "failures": 2, "lost": 0, "progress": None}


def test_a_task_that_waits_for_its_next_attempt_is_ready_again(worker, tmp_path):
    # When
    waiting = tasks.fail_until.using(backoff=3600).enqueue(str(tmp_path / "calls"), 3)

    # Then
    wait_until(lambda: waiting.refresh() or waiting.errors)
    assert (waiting.status, waiting.attempts) == (TaskResultStatus.READY, 1)
    assert [error.exception_class for error in waiting.errors] == [ValueError]


def test_the_context_of_a_later_attempt_knows_the_earlier_ones(worker):
    result = ended(tasks.fail_with_context.enqueue())
    assert result.status == FAILED
    assert [error.traceback.splitlines()[-1] for error in result.errors] == [
        "LookupError: attempt 1 after 0 errors",
        "LookupError: attempt 2 after 1 errors",
    ]
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018 - a property


def test_a_task_that_gives_up_has_failed_and_says_why(worker):
    result = ended(tasks.give_up.enqueue("the order was paid"))
    assert result.status == FAILED
    assert [error.exception_class.__name__ for error in result.errors] == ["Cancel"]
    assert "the order was paid" in result.errors[0].traceback


def test_a_task_that_was_cancelled_while_it_waited_has_failed_and_says_so():
    # Given
    result = tasks.echo.using(run_after=datetime.timedelta(hours=1)).enqueue(1)

    # When
    TaskHandle(uuid.UUID(result.id)).cancel()

    # Then
    result.refresh()
    assert (result.status, result.attempts, result.started_at) == (FAILED, 0, None)
    assert [error.exception_class.__name__ for error in result.errors] == ["TaskCancelled"]
    assert result.errors[0].traceback == "cancelled before it ran"


def test_a_task_that_is_cancelled_while_it_runs_has_failed_and_says_so(worker):
    # Given
    result = tasks.wait_for.enqueue("cancelled")
    wait_until(lambda: result.refresh() or result.status == TaskResultStatus.RUNNING)

    # When
    TaskHandle(uuid.UUID(result.id)).cancel()
    tasks.gate("cancelled").set()

    # Then
    assert ended(result).status in (FAILED, SUCCESSFUL)  # It may have returned before it was interrupted.
    assert result.attempts == 1


def test_a_task_that_has_expired_has_failed_and_says_so(start_worker):
    # Given
    result = tasks.perishable.enqueue()
    execute(current(), "UPDATE autotask_task SET expires_at = clock_timestamp() - interval '1 s'")

    # When
    start_worker()

    # Then
    assert ended(result).status == FAILED
    assert "expired" in result.errors[0].traceback


def test_a_task_that_takes_too_long_has_failed_and_says_so(worker):
    result = ended(tasks.sleep_too_long.enqueue())
    assert (result.status, result.attempts) == (FAILED, 1)
    assert [error.exception_class.__name__ for error in result.errors] == ["TimeLimitExceeded"]


def test_a_value_that_cannot_be_stored_is_an_error_that_says_so(worker):
    result = ended(tasks.unpicklable.enqueue())
    assert result.status == FAILED
    assert "UnpicklableResult" in result.errors[0].traceback


def test_a_coroutine_that_nobody_awaited_is_an_error_that_says_so(worker):
    result = ended(tasks.hide.enqueue())
    assert result.status is FAILED
    assert "returned a coroutine" in result.errors[0].traceback and "has run" not in result.errors[0].traceback


@pytest.mark.parametrize("task", [tasks.add_wrong_types, tasks.add_wrong_types_later])
def test_a_task_that_raises_a_type_error_has_failed(worker, task):
    result = ended(task.enqueue(1))
    assert result.status is FAILED
    assert "TypeError: unsupported operand" in result.errors[0].traceback


def test_a_task_runs_in_a_process_if_it_asks_for_one(worker):
    result = ended(tasks.in_a_process.enqueue("word"))
    assert (result.return_value, result.attempts) == ("WORD", 1)


def test_priorities_are_those_of_django(start_worker, tmp_path):
    # Given
    order = tmp_path / "order"
    words = {"low": -5, "high": 50, "none": 0}
    results = [tasks.urgent.using(priority=priority).enqueue(str(order), word) for word, priority in words.items()]
    results.append(tasks.urgent.enqueue(str(order), "seven"))

    # When
    start_worker(threads=1)
    for result in results:
        ended(result)

    # Then
    assert order.read_text().split() == ["high", "seven", "none", "low"]


@pytest.mark.parametrize("moment", [False, True], ids=["seconds", "moment"])
def test_what_is_to_run_later_waits_until_then(moment):
    # Given
    hour = datetime.timedelta(hours=1)
    run_after = timezone.now() + hour if moment else hour

    # When
    result = tasks.echo.using(run_after=run_after).enqueue(1)

    # Then
    found = tasks.echo.get_result(result.id)
    assert found.task.run_after - timezone.now() > datetime.timedelta(minutes=59)
    assert read.task(current(), uuid.UUID(result.id)).state.name == "SCHEDULED"


def test_without_time_zones_moments_are_naive_as_django_has_them(settings):
    # Given
    settings.USE_TZ = False
    soon = timezone.now() + datetime.timedelta(hours=1)

    # When
    result = tasks.echo.using(run_after=soon).enqueue(1)

    # Then
    found = tasks.echo.get_result(result.id)
    assert found.task.run_after == soon
    assert abs(found.enqueued_at - timezone.now()) < datetime.timedelta(minutes=1)


def test_an_id_that_is_none_has_no_result():
    for id in ("", "123", "nonsense", None, 5, str(new_id())):
        with pytest.raises(TaskResultDoesNotExist):
            task_backends["default"].get_result(id)


def test_a_task_of_autotask_itself_is_none_of_django():
    id = tasks_of_autotask.echo(1).id
    with pytest.raises(TaskResultDoesNotExist):
        task_backends["default"].get_result(str(id))


def test_a_status_can_be_looked_up_where_the_arguments_cannot_be_unpickled(monkeypatch):
    # Given
    result = tasks.echo.enqueue(tasks_of_autotask.Unshowable())

    # When
    monkeypatch.delattr(tasks_of_autotask, "Unshowable")
    found = tasks.echo.get_result(result.id)

    # Then
    assert found.status == TaskResultStatus.READY
    with pytest.raises(AttributeError, match="Unshowable"):
        found.args  # noqa: B018 - a property


def test_a_function_that_is_no_task_at_its_module_path_is_refused():
    nameless = dataclasses.replace(tasks.echo, func=tasks.undecorated)
    with pytest.raises(InvalidTask, match="could not find"):
        nameless.enqueue()


def test_arguments_that_do_not_fit_are_refused_at_the_call():
    with pytest.raises(TypeError, match="Nothing was enqueued"):
        tasks.echo.enqueue()
