"""Behaviour that all pools share: in a thread, on the event loop, in a process, in an executor of the project."""

import re

import pytest

from autotask.store import read
from autotask.store.connection import current, rows
from autotask.task import CANCELLED, DONE, ERROR, WAITING, State
from autotask.worker import watch
from tests.helpers import ended, patient, wait_until
from tests.integration.worker import everywhere, stubborn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]


CLOSED = "SELECT gate FROM autotask_bucket WHERE closed_until > now() + interval '1 minute'"


@pytest.fixture(params=everywhere.ALL.items(), ids=lambda item: item[0])
def there(request, settings, monkeypatch):
    """The tasks that run in one of the pools."""
    settings.AUTOTASK_EXECUTORS = {"everywhere": ("tests.integration.worker.everywhere.threads", 2)}
    # Nothing reaches a task in an executor of the project; it is given up soon.
    monkeypatch.setattr(watch, "STOP_WITHIN", 0.3 if request.param[0] == "executor" else 10.0)
    return request.param[1]


@pytest.fixture
def start(start_worker):
    """Start a worker with room for two tasks in each pool."""
    return lambda: start_worker(threads=2, coroutines=2, processes=2)


def test_a_value_comes_back(there, start):
    start()
    assert there.echo({"a": (1, b"\0", None)}).wait(20) == {"a": (1, b"\0", None)}


def test_an_exception_is_recorded_with_its_traceback_and_retried(there, start):
    start()
    handle = there.fail()
    assert ended(handle) is ERROR
    assert handle.error_message == "KeyError: 'gone'"
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert all('raise KeyError("gone")' in attempt.traceback for attempt in handle.failed_attempts)
    assert not any(re.search(r'File ".*/(autotask/\w+|asgiref)/', each.traceback) for each in handle.failed_attempts)


def test_a_result_that_cannot_be_stored_is_an_error(there, start):
    start()
    handle = there.return_lambda()
    assert ended(handle) is ERROR
    assert "cannot be pickled" in handle.error_message


def test_a_coroutine_that_nobody_awaited_is_an_error_that_says_so(there, start, tmp_path):
    start()
    handle = there.hide(str(tmp_path / "ran"))
    assert ended(handle) is ERROR
    assert "returned a coroutine" in handle.error_message and "has run" not in handle.error_message
    assert [attempt.state for attempt in handle.failed_attempts] == [State.RETRY, State.ERROR]
    assert stubborn.lines(tmp_path / "ran") == []


def test_a_task_knows_itself(there, start):
    start()
    handle = there.who()
    assert handle.wait(20) == (str(handle.id), 1)


def test_a_task_closes_its_rate_for_all_and_no_attempt_counts(there, start):
    start()
    refused = there.refuse()
    wait_until(lambda: rows(current(), CLOSED) == [(f"rate:{refused.name}",)], what="the closed rate")
    wait_until(lambda: (refused.status, refused.attempts) == (WAITING, 0), what="the release")


def test_the_time_limit_is_kept_and_the_place_is_free_again(there, start, tmp_path):
    # Given
    worker = start()
    handles = [there.nap.using(timeout=0.3)(str(tmp_path / f"{i}"), 3) for i in range(4)]

    # Then
    assert {ended(handle) for handle in handles} == {ERROR}
    assert {handle.error_message for handle in handles} == {"timed out after 0.3 s"}
    assert there.echo("next").wait(20) == "next"
    assert (worker.exit_status, worker.recorder.refused) == (0, 0)


def test_no_more_run_at_a_time_than_there_is_room_for(there, start, tmp_path):
    # Given
    start()
    handles = [there.stay(str(tmp_path / f"{i}"), str(tmp_path / f"end {i}")) for i in range(6)]

    def running():
        return [i for i in range(6) if stubborn.lines(tmp_path / f"{i}") == ["began"]]

    # When, then: whoever leaves makes room for one
    for left in range(6, 0, -1):
        inside = wait_until(lambda left=left: len(running()) >= min(left, 2) and running(), what="the start of two")
        assert len(inside) == min(left, 2)
        (tmp_path / f"end {inside[0]}").touch()
        assert ended(handles[inside[0]]) is DONE


def test_running_tasks_finish_within_the_grace_of_a_stopped_worker_and_waiting_ones_are_released(
    there, start, tmp_path, stopping
):
    # Given
    worker = start()
    end = tmp_path / "end"
    handles = [there.stay(str(tmp_path / f"{i}"), str(end)) for i in range(6)]

    def begun():
        return sum(bool(stubborn.lines(tmp_path / f"{i}")) for i in range(6))

    wait_until(lambda: begun() >= 2, what="the start of two")

    # When
    worker.stop()
    assert stopping.wait(patient(20))  # It has seen the request, and begins no other task.
    end.touch()

    # Then
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert sorted(str(handle.status) for handle in handles) == ["done"] * begun() + ["waiting"] * (6 - begun())
    assert begun() < 6
    assert {handle.attempts for handle in handles if handle.status is WAITING} == {0}


def test_a_task_that_outlasts_the_grace_is_released_with_its_attempt_restored(there, start, tmp_path, settings):
    # Given
    settings.AUTOTASK_SHUTDOWN_GRACE = 0.3
    worker = start()
    handle = there.nap(str(tmp_path / "path"), 4)
    wait_until(lambda: stubborn.lines(tmp_path / "path"))

    # When
    worker.stop()

    # Then
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert (handle.status, handle.attempts, handle.failed_attempts) == (WAITING, 0, [])


def test_a_task_that_was_cancelled_while_it_ran_is_cancelled_at_its_end_at_the_latest(there, start, tmp_path):
    # Given
    start()
    end = tmp_path / "end"
    handle = there.stay(str(tmp_path / "path"), str(end))
    wait_until(lambda: stubborn.lines(tmp_path / "path"))

    # When
    assert handle.cancel()

    # Then
    if there is everywhere.executor:
        end.touch()
        assert ended(handle) is DONE  # It had begun, and nothing could reach it.
    else:
        assert ended(handle) is CANCELLED
        assert stubborn.lines(tmp_path / "path") == ["began"]
