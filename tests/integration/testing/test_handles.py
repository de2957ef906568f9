"""A handle is one snapshot of its task: what it says fits together, and loops that ask it come to an end."""

import uuid

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import SynchronousOnlyOperation

from autotask.exceptions import TaskCancelled, TaskExpired, TaskFailed, TaskNotFound
from autotask.handle import TaskHandle
from autotask.task import CANCELLED, DONE, ERROR, WAITING, new_id
from autotask.testing import immediate
from autotask.testing.runner import Runner
from tests.integration.testing import tasks

pytestmark = pytest.mark.django_db

#: What a handle answers from one read, with its answer for a task that waits and for one that has ended.
ANSWERS = {
    "status": (WAITING, ERROR),
    "ready": (False, True),
    "error_message": ("", "ValueError: no"),
    "attempts": (0, 1),
}


class Elsewhere(Runner):
    """Runs a task without a word to the handles of this process, as another process does."""

    def end(self, handle, monkeypatch):
        with monkeypatch.context() as patched, self.signed_on():
            patched.setattr("autotask.testing.runner.Era.begin", lambda: None)
            self.run(handle.id)


@pytest.fixture
def end(monkeypatch):
    return lambda handle: Elsewhere().end(handle, monkeypatch)


def failing():
    return tasks.fail.using(retries=0)()


@pytest.mark.parametrize("first", ANSWERS)
def test_what_a_handle_says_fits_together_though_the_task_goes_on_meanwhile(end, first, django_assert_num_queries):
    # Given
    handle = failing()
    said = {first: getattr(handle, first)}

    # When
    end(handle)

    # Then
    with django_assert_num_queries(0):
        said |= {name: getattr(handle, name) for name in ANSWERS if name != first}
    assert said == {name: waiting for name, (waiting, _) in ANSWERS.items()}
    assert {name: getattr(handle, name) for name in ANSWERS} == {name: ended for name, (_, ended) in ANSWERS.items()}


@pytest.mark.parametrize("name", [*ANSWERS, "result", "progress"])
def test_a_loop_that_waits_for_any_attribute_sees_it_change(end, name, django_assert_num_queries):
    handle = tasks.same.using(retries=0)("found")
    first = getattr(handle, name)
    with django_assert_num_queries(3):
        assert [getattr(handle, name) for _ in range(3)] == [first] * 3
    end(handle)
    getattr(handle, name)
    assert (handle.status, handle.result) == (DONE, "found")


def test_tasks_that_the_test_itself_runs_are_seen_at_once(autotask_captured):
    handle = tasks.add(2, 3)
    assert handle.status is WAITING
    autotask_captured.run_pending()
    assert handle.result == 5


def test_the_error_of_the_last_attempt_comes_with_the_same_read(autotask_captured, django_assert_num_queries):
    handle = tasks.fail("later")
    autotask_captured.run_pending()
    with django_assert_num_queries(1):
        assert (handle.status, handle.error_message, handle.attempts) == (WAITING, "ValueError: later", 1)


def test_what_the_handle_does_is_seen_at_once():
    handle = tasks.add(2, 3)
    assert handle.ready is False
    handle.cancel()
    assert handle.status is CANCELLED
    handle.retry()
    assert handle.status is WAITING


def test_refreshing_reads_at_once(end, django_assert_num_queries):
    handle = failing()
    assert handle.status is WAITING
    end(handle)
    handle.refresh()
    with django_assert_num_queries(0):
        assert (handle.status, handle.ready) == (ERROR, True)


# --- in coroutines ----------------------------------------------------------------------------------------------------


async def asked_in_a_coroutine():
    handle = await tasks.add.aenqueue(2, 3)
    with pytest.raises(SynchronousOnlyOperation):
        _ = handle.status

    await handle.arefresh()
    assert [(handle.status, handle.ready, handle.result) for _ in range(2)] == [(WAITING, False, None)] * 2

    assert await handle.acancel() is True
    await handle.arefresh()
    assert handle.status is CANCELLED

    await handle.aretry()
    await handle.arefresh()
    assert handle.status is WAITING


def test_a_coroutine_reads_when_it_says_so_and_can_ask_as_often_as_it_likes():
    async_to_sync(asked_in_a_coroutine)()


def test_a_coroutine_awaits_the_handle_for_the_result():
    async def awaited():
        with immediate():
            return await (await tasks.add.aenqueue(2, 3))

    assert async_to_sync(awaited)() == 5


# --- what is not there ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id",
    [uuid.uuid4(), uuid.UUID(int=0), uuid.UUID("ffffffff-ffff-7fff-bfff-ffffffffffff")],
    ids=["random", "nil", "of a far future"],
)
def test_an_id_that_no_call_makes_never_was_a_task(id):
    handle = TaskHandle(id)
    for ask in (handle.refresh, lambda: handle.ready, lambda: handle.wait(1)):
        with pytest.raises(TaskNotFound, match=f"^Task {id} has never existed: ") as caught:
            ask()
        assert not isinstance(caught.value, TaskExpired)


def test_an_id_that_a_call_may_have_made_has_expired():
    id = new_id()
    with pytest.raises(TaskExpired, match=f"^Task {id} is not in the database: "):
        TaskHandle(id).refresh()


# --- what has failed --------------------------------------------------------------------------------------------------


def test_a_failure_brings_the_type_and_the_traceback_of_its_error(end):
    handle = failing()
    end(handle)
    with pytest.raises(TaskFailed, match=r"ended in an error: ValueError: no\n") as caught:
        handle.wait(1)
    assert (caught.value.error_type, caught.value.error_message) == ("builtins.ValueError", "ValueError: no")
    assert caught.value.traceback == handle.failed_attempts[0].traceback
    (note,) = caught.value.__notes__
    assert (
        note.startswith("In the worker:\nTraceback (most recent call last):\n") and "raise ValueError(message)" in note
    )


def test_a_coroutine_gets_the_same(end):
    handle = failing()
    end(handle)

    async def awaited():
        await handle.arefresh()
        with pytest.raises(TaskFailed) as caught:
            await handle
        return caught.value

    assert async_to_sync(awaited)().error_type == "builtins.ValueError"


def test_what_was_cancelled_has_no_error_to_show():
    handle = tasks.add(2, 3)
    handle.cancel()
    with pytest.raises(TaskCancelled):
        handle.wait(1)
