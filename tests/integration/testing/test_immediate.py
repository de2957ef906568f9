"""AUTOTASK_IMMEDIATE and immediate(): a call runs its task at once, as a worker would."""

import datetime

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import TransactionTestCase, override_settings

from autotask.exceptions import TaskCancelled, TaskFailed, UnpicklableArgument, WaitInTransaction
from autotask.signals import task_enqueued, task_started, task_succeeded
from autotask.store import read
from autotask.store.connection import current
from autotask.task import CANCELLED, DONE, ERROR, WAITING
from autotask.testing import ImmediateTasksMixin, immediate
from tests.integration.testing import tasks

#: In the transaction of the test, and where each statement is committed.
both = pytest.mark.parametrize(
    "_", [pytest.param("", marks=pytest.mark.django_db(transaction=x), id=f"transaction={x}") for x in (False, True)]
)


@both
def test_a_call_has_run_when_it_returns(autotask_immediate, _):
    handle = tasks.add(2, y=3)
    assert (handle.status, handle.ready, handle.result, handle.error_message) == (DONE, True, 5, "")
    assert handle.wait(timeout=0) == 5


@both
def test_a_failing_task_is_tried_again_at_once_and_ends_in_an_error(autotask_immediate, _):
    # When
    handle = tasks.fail("broken")

    # Then
    assert tasks.ran == ["broken"] * 3
    assert (handle.status, handle.attempts, handle.error_message) == (ERROR, 3, "ValueError: broken")
    assert [attempt.error_type for attempt in handle.failed_attempts] == ["builtins.ValueError"] * 3
    with pytest.raises(TaskFailed, match="ValueError: broken"):
        handle.wait(timeout=0)


@pytest.mark.django_db
def test_a_task_that_fails_at_first_succeeds_by_its_retries(autotask_immediate):
    assert tasks.fail(until=3).result == 3


@both
def test_a_call_can_raise_what_its_task_raises(_):
    with immediate(raise_errors=True), pytest.raises(ValueError, match="broken"):
        tasks.fail("broken")
    assert tasks.ran == ["broken"] * 3
    assert [task.state.status for task in read.newest(current())] == [ERROR]


@pytest.mark.autotask(raise_errors=True)
@pytest.mark.django_db
def test_the_marker_can_ask_for_raising():
    with pytest.raises(ValueError, match="broken"):
        tasks.fail("broken")


@pytest.mark.django_db
def test_what_has_no_exception_of_the_function_is_raised_as_a_failed_task():
    with immediate(raise_errors=True), pytest.raises(TaskFailed, match="cannot be pickled"):
        tasks.same.using(retries=3)(Unstorable())


class Unstorable:
    """What can be pickled once, but not when it comes back."""

    def __reduce__(self):
        return _unstorable, ()


def _unstorable():
    return lambda: None


@pytest.mark.django_db
def test_arguments_and_results_are_copies_as_they_are_in_a_worker(autotask_immediate):
    value = {"when": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)}
    result = tasks.same(value).result
    assert result == value
    assert result is not value
    with pytest.raises(UnpicklableArgument):
        tasks.same(lambda: None)


@pytest.mark.django_db
def test_a_delay_is_not_waited_for(autotask_immediate):
    assert tasks.add.using(delay=3600)(1).status is DONE


@pytest.mark.django_db
def test_many_calls_run_in_their_order(autotask_immediate):
    handles = tasks.add.enqueue_many([(1,), {"x": 2, "y": 2}])
    assert tasks.ran == [(1, 0), (2, 2)]
    assert [handle.result for handle in handles] == [1, 4]


@both
def test_a_task_can_wait_for_another_one(autotask_immediate, _):
    assert tasks.parent(1).result == 2


@pytest.mark.django_db
def test_a_task_that_snoozes_stays_as_it_is(autotask_immediate):
    handle = tasks.snooze(60, 99)
    assert (handle.status, tasks.ran) == (WAITING, [60])
    with pytest.raises(WaitInTransaction):
        handle.wait()


@pytest.mark.django_db
def test_apps_that_are_made_ready_again_do_not_run_tasks_again(autotask_immediate):
    with override_settings(INSTALLED_APPS=[*settings.INSTALLED_APPS]):
        tasks.snooze(60, 99)
    assert tasks.ran == [60]


@pytest.mark.django_db
def test_a_task_can_cancel_itself(autotask_immediate):
    handle = tasks.cancel_itself()
    assert (handle.status, handle.error_message) == (CANCELLED, "no need")
    with pytest.raises(TaskCancelled):
        handle.wait()


@both
def test_a_task_that_is_cancelled_while_it_runs_ends_as_cancelled(autotask_immediate, _):
    assert tasks.cancel_while_running().status is CANCELLED


@both
def test_what_a_task_did_before_it_failed_stays(autotask_immediate, _):
    tasks.make_group("staff", then_fail=True)
    assert Group.objects.filter(name="staff").exists()


@pytest.mark.django_db
def test_an_error_of_the_database_does_not_spoil_the_transaction_of_the_test(autotask_immediate):
    Group.objects.create(name="before")
    handle = tasks.make_group_twice("staff")
    assert "IntegrityError" in handle.error_message
    assert list(Group.objects.values_list("name", flat=True)) == ["before"]


@both
def test_an_atomic_task_that_fails_leaves_nothing(autotask_immediate, _):
    assert tasks.make_group_atomically("staff").status is DONE
    assert tasks.make_group_atomically("others", then_fail=True).status is ERROR
    assert list(Group.objects.values_list("name", flat=True)) == ["staff"]
    assert tasks.ran == ["committed staff"]


@both
def test_its_signals_come_in_the_order_in_which_they_come_without_it(autotask_immediate, _):
    # Given
    heard = []
    signals = {"enqueued": task_enqueued, "started": task_started, "succeeded": task_succeeded}
    receivers = {name: lambda word=name, **_: heard.append(word) for name in signals}
    for name, signal in signals.items():
        signal.connect(receivers[name])

    # When
    with transaction.atomic():
        tasks.add(2, y=3)
    tasks.add.enqueue_many([(1, 2), (3, 4)])

    # Then
    for name, signal in signals.items():
        signal.disconnect(receivers[name])
    assert heard == ["enqueued", "started", "succeeded", "enqueued", "enqueued", *["started", "succeeded"] * 2]


@both
def test_what_a_task_wants_done_on_commit_is_done(autotask_immediate, _):
    tasks.commit_and_roll_back()
    assert tasks.ran == ["committed"]


@both
def test_what_fails_on_commit_fails_the_task(autotask_immediate, _):
    assert tasks.fail_on_commit().error_message == "ZeroDivisionError: division by zero"


@pytest.mark.django_db(transaction=True)
def test_the_code_s_own_transaction_is_left_as_it_is(autotask_immediate):
    # When
    with transaction.atomic():
        transaction.on_commit(lambda: tasks.ran.append("code committed"))
        assert tasks.make_group_twice("staff").status is ERROR
        assert tasks.commit_and_roll_back().status is DONE
        assert tasks.ran == []

    # Then
    assert tasks.ran == ["code committed", "committed"]


@pytest.mark.django_db(transaction=True)
def test_a_call_that_is_rolled_back_leaves_nothing(autotask_immediate):
    with pytest.raises(LookupError), transaction.atomic():
        tasks.make_group("staff")
        raise LookupError
    assert read.newest(current()) == []
    assert not Group.objects.exists()


@both
def test_the_end_of_the_test_run_is_no_outcome_of_a_task(autotask_immediate, _):
    with pytest.raises(KeyboardInterrupt):
        tasks.stop_the_tests()


@both
def test_coroutine_functions_run_too(autotask_immediate, _):
    Group.objects.create(name="staff")
    assert tasks.add_later(2, 3).result == 5
    assert tasks.count_groups().result == 1


@pytest.mark.django_db
def test_no_worker_stays_in_the_register(autotask_immediate):
    tasks.add(1)
    assert read.workers(current()) == []


@immediate()
def _call_decorated():
    return tasks.add(4).status


@pytest.mark.django_db
def test_it_is_a_decorator_as_well():
    assert _call_decorated() is DONE
    assert tasks.add(4).status is WAITING


@pytest.mark.django_db
def test_the_setting_alone_does_it(settings):
    settings.AUTOTASK_IMMEDIATE = True
    assert tasks.add(1, 1).result == 2


class ImmediateTest(ImmediateTasksMixin, TransactionTestCase):
    raise_task_errors = True

    def test_the_mixin_runs_tasks_at_once(self):
        self.assertEqual(tasks.add(1, 2).result, 3)
        with self.assertRaises(ValueError):
            tasks.fail()

    async def test_a_coroutine_gets_its_result(self):
        handle = await tasks.add_later.aenqueue(2, 3)
        self.assertEqual(await handle.await_result(timeout=5), 5)
