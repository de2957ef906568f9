"""captured_tasks(): what was enqueued, and running it when the test says so."""

from datetime import timedelta
from unittest.mock import ANY

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings

from autotask.delayed import DelayedTask
from autotask.exceptions import EndlessTasks, RunInTransaction, UnknownTask, WaitInTransaction
from autotask.handle import TaskHandle
from autotask.signals import task_enqueued
from autotask.store import claim, read, requeue, tally, workers
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import current
from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING
from autotask.testing import CapturedTasksMixin, captured_tasks
from autotask.worker.identity import make_identity
from tests.integration.testing import tasks

#: In the transaction of the test, and where each statement is committed.
both = pytest.mark.parametrize(
    "_", [pytest.param("", marks=pytest.mark.django_db(transaction=x), id=f"transaction={x}") for x in (False, True)]
)


# --- what was enqueued ------------------------------------------------------------------------------------------------


@both
def test_a_call_is_noted_and_nothing_runs(autotask_captured, _):
    # When
    handle = tasks.add.using(queue="sums", priority=5)(2, y=3)

    # Then
    call = autotask_captured.assert_enqueued(tasks.add)
    assert (call.handle, call.args, call.kwargs, call.queue, call.priority) == (handle, (2,), {"y": 3}, "sums", 5)
    assert (list(autotask_captured), handle.status, tasks.ran) == ([call], WAITING, [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "expected",
    [{"args": (2, 3)}, {"args": (2,), "kwargs": {"y": 3}}, {"kwargs": {"x": 2, "y": 3}}, {"args": (ANY, 3)}],
)
def test_a_call_is_found_however_it_was_written(autotask_captured, expected):
    tasks.add(2, 3)
    autotask_captured.assert_enqueued(tasks.add, **expected)
    autotask_captured.assert_enqueued("tests.integration.testing.tasks.add", queue="default", **expected)
    with pytest.raises(AssertionError):
        autotask_captured.assert_not_enqueued(tasks.add, **expected)


@pytest.mark.django_db
def test_defaults_count_as_if_they_had_been_given(autotask_captured):
    tasks.add(2)
    autotask_captured.assert_enqueued(tasks.add, args=(2, 0))
    autotask_captured.assert_not_enqueued(tasks.add, args=(2, 1))


@pytest.mark.django_db
def test_what_was_not_enqueued_is_told_with_the_nearest_call_and_all_others(autotask_captured):
    # Given
    tasks.add(7, 9)
    tasks.add.using(queue="sums")(2, 3)
    tasks.same("x" * 1000)

    # When
    with pytest.raises(AssertionError) as caught:
        autotask_captured.assert_enqueued(tasks.add, args=(2,), kwargs={"y": 4}, queue="sums")

    # Then
    name, text = "tests.integration.testing.tasks", str(caught.value)
    assert f"{name}.add(2, y=4) in queue 'sums' was not enqueued." in text
    assert f"Nearest: {name}.add(x=2, y=3) in queue 'sums'" in text
    assert "    y is 3, not 4\nEnqueued (3):\n" in text
    assert f"    {name}.add(x=7, y=9) in queue 'default', due 2" in text
    assert max(map(len, text.splitlines())) < 400


@pytest.mark.django_db
def test_a_task_that_is_not_there_is_told_with_one_of_a_similar_name(autotask_captured):
    with pytest.raises(AssertionError, match=r"add\(…\) was not enqueued.\nNothing was enqueued."):
        autotask_captured.assert_enqueued(tasks.add)
    tasks.add_later(1, 2)
    with pytest.raises(AssertionError, match=r"Nearest: .*add_later\(x=1, y=2\)(.*\n)+.*is a different task from"):
        autotask_captured.assert_enqueued(tasks.add)


@pytest.mark.django_db
def test_an_unwanted_call_is_reported(autotask_captured):
    tasks.add(2, 3)
    autotask_captured.assert_not_enqueued(tasks.same)
    autotask_captured.assert_not_enqueued(tasks.add, queue="sums")
    with pytest.raises(AssertionError, match=r"add\(…\) was enqueued.\n    .*add\(x=2, y=3\) in queue 'default'"):
        autotask_captured.assert_not_enqueued(tasks.add)


@pytest.mark.django_db
def test_a_mistake_in_the_test_is_no_assertion(autotask_captured):
    with pytest.raises(UnknownTask, match="did you mean"):
        autotask_captured.assert_enqueued("tests.integration.testing.tasks.ad")
    with pytest.raises(TypeError, match="missing a required argument"):
        autotask_captured.assert_enqueued(tasks.add, args=())
    with pytest.raises(TypeError, match="decorated function"):
        autotask_captured.assert_enqueued(print)


@both
def test_a_call_that_was_rolled_back_was_not_enqueued(autotask_captured, _):
    with pytest.raises(LookupError), transaction.atomic():
        tasks.add(1)
        autotask_captured.assert_enqueued(tasks.add)
        raise LookupError
    autotask_captured.assert_not_enqueued(tasks.add)
    assert autotask_captured.run_pending() == []


@pytest.mark.django_db
def test_what_is_enqueued_outside_of_the_block_is_not_noted():
    tasks.add(1)
    with captured_tasks() as captured:
        tasks.add(2)
    tasks.add(3)
    assert [call.args for call in captured] == [(2,)]


# --- running it -------------------------------------------------------------------------------------------------------


@both
def test_what_is_due_runs_when_the_test_says_so(autotask_captured, _):
    # Given
    handle, later = tasks.add(2, 3), tasks.add.using(delay=60)(1)

    # When
    ran = autotask_captured.run_pending()

    # Then
    assert (ran, tasks.ran, later.status) == ([handle], [(2, 3)], WAITING)
    assert (handle.status, handle.wait(timeout=0)) == (DONE, 5)
    autotask_captured.assert_enqueued(tasks.add, args=(2, 3))
    assert autotask_captured.run_pending() == []


@pytest.mark.django_db
def test_larger_priorities_run_first(autotask_run_pending):
    for priority in (0, 5, -5, 5):
        tasks.add.using(priority=priority)(priority)
    autotask_run_pending()
    assert tasks.ran == [(5, 0), (5, 0), (0, 0), (-5, 0)]


@pytest.mark.django_db
def test_what_was_enqueued_before_the_block_runs_as_well():
    tasks.add(1)
    tasks.add.using(delay=60)(2)
    with captured_tasks() as captured:
        captured.run_pending()
        assert tasks.ran == [(1, 0)]
        captured.drain()
    assert tasks.ran == [(1, 0), (2, 0)]


@both
def test_what_tasks_enqueue_for_now_runs_too(autotask_captured, _):
    tasks.in_turn(["a", "b", "c"])
    assert len(autotask_captured.run_pending()) == 3
    assert tasks.ran == ["a", "b", "c"]
    assert [call.args[0] for call in autotask_captured] == [["a", "b", "c"], ["b", "c"], ["c"]]


@both
def test_retries_are_run_when_their_delay_is_over(autotask_captured, _):
    # Given
    handle = tasks.fail("broken")
    autotask_captured.run_pending()
    assert (handle.status, handle.error_message, handle.attempts) == (WAITING, "ValueError: broken", 1)

    # When, Then: ten minutes between two attempts
    assert autotask_captured.run_pending(until=timedelta(seconds=599)) == []
    assert autotask_captured.run_pending(until=timedelta(seconds=600)) == [handle]
    assert autotask_captured.drain() == [handle]
    assert (handle.status, handle.attempts) == (ERROR, 3)


@pytest.mark.django_db
def test_until_runs_what_follows_in_the_order_of_time(autotask_captured):
    # Given
    tasks.in_turn(["a", "b", "c"], 600)
    tasks.add.using(delay=900)(1)

    # When, Then: b is due after ten minutes, c after twenty
    autotask_captured.run_pending(until=timedelta(minutes=19))
    assert tasks.ran == ["a", "b", (1, 0)]
    autotask_captured.drain()
    assert tasks.ran == ["a", "b", (1, 0), "c"]


@pytest.mark.django_db
def test_drain_runs_all_that_waits(autotask_captured):
    handles = [tasks.fail("broken"), tasks.snooze(3600, 2), tasks.add.using(delay=1e8)(1)]
    autotask_captured.drain()
    assert [handle.status for handle in handles] == [ERROR, DONE, DONE]
    assert tally.counts(current()) == []


@pytest.mark.django_db
def test_what_expires_before_it_runs_is_not_run(autotask_captured):
    # Given
    late, early = tasks.add.using(delay=60, expires=0)(1), tasks.add.using(delay=60, expires=1)(2)

    # When
    autotask_captured.drain()

    # Then
    assert (late.status, early.status, tasks.ran) == (CANCELLED, DONE, [(2, 0)])
    assert late.error_message.startswith("expired")


@both
def test_a_run_can_raise_what_its_task_raises(autotask_captured, _):
    handle = tasks.fail("broken")
    with pytest.raises(ValueError, match="broken"):
        autotask_captured.drain(raise_errors=True)
    assert handle.status is ERROR


@pytest.mark.django_db
def test_a_cancelled_task_does_not_run_and_a_requeued_one_does(autotask_captured):
    # Given
    handle = tasks.add(1)
    handle.cancel()

    # When, Then
    assert autotask_captured.run_pending() == []
    handle.retry()
    assert autotask_captured.run_pending() == [handle]


@pytest.mark.django_db
def test_a_task_that_enqueues_itself_for_ever_is_stopped(autotask_captured, monkeypatch):
    monkeypatch.setattr("autotask.testing.captured.MOST_ATTEMPTS", 10)
    tasks.for_ever()
    with pytest.raises(EndlessTasks, match=r"10 attempts .* of tests.integration.testing.tasks.for_ever: "):
        autotask_captured.run_pending()


@pytest.mark.django_db
def test_a_task_whose_function_is_gone_is_not_passed_over(autotask_captured):
    DelayedTask(tasks.add.function, "tests.integration.testing.tasks.ad", tasks.add.options)(1)
    with pytest.raises(UnknownTask, match="did you mean"):
        autotask_captured.run_pending()


@pytest.mark.django_db(transaction=True)
def test_what_another_worker_holds_is_left_to_it(autotask_captured, other_connection):
    # Given
    handle, mine = tasks.add(1), tasks.add(2)
    other = make_identity(kind="test", serves_pid=None, queues=(), threads=1)
    workers.sign_on(other_connection, other, lease=30)
    lane = BoundedLane(Lane("default", 0), None)
    claim.claim(other_connection, other.id, [lane], per_lane=1, limit=1, which=claim.only(handle.id))

    # When, Then
    assert autotask_captured.drain() == [mine]
    assert handle.status is RUNNING


@pytest.mark.django_db(transaction=True)
def test_running_inside_a_transaction_of_the_code_is_refused(autotask_captured):
    with transaction.atomic():
        tasks.add(1)
        with pytest.raises(RunInTransaction, match="after the atomic block"):
            autotask_captured.run_pending()
    assert len(autotask_captured.run_pending()) == 1


@pytest.mark.django_db
def test_a_task_that_has_not_run_is_not_waited_for_in_the_transaction_of_the_test(autotask_captured):
    with pytest.raises(WaitInTransaction):
        tasks.add(1).wait(10)


# --- on commit --------------------------------------------------------------------------------------------------------


@both
def test_what_is_enqueued_on_commit_is_run(autotask_captured, _):
    with transaction.atomic():
        transaction.on_commit(lambda: tasks.add(1))
    assert len(autotask_captured.run_pending()) == 1
    autotask_captured.assert_enqueued(tasks.add, args=(1,))
    autotask_captured.run_pending()
    assert tasks.ran == [(1, 0)]


@pytest.mark.django_db
def test_what_was_done_on_commit_is_not_done_again(autotask_captured, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        transaction.on_commit(lambda: tasks.ran.append("done"))
        autotask_captured.run_pending()
        transaction.on_commit(lambda: tasks.ran.append("more"))
    assert tasks.ran == ["done", "more"]
    assert len(callbacks) == 2


@pytest.mark.django_db
def test_an_error_on_commit_reaches_the_test_and_a_robust_one_does_not(autotask_captured, caplog):
    transaction.on_commit(lambda: 1 / 0, robust=True)
    transaction.on_commit(lambda: [][1])
    with pytest.raises(IndexError):
        autotask_captured.run_pending()
    assert "ZeroDivisionError" in caplog.text


@both
def test_the_signal_of_a_call_is_sent_as_if_the_test_were_committed(autotask_captured, _):
    heard = []

    def hear(task_id, **_):
        heard.append(task_id)

    task_enqueued.connect(hear)
    try:
        handle = tasks.add(1)
        autotask_captured.run_pending()
    finally:
        task_enqueued.disconnect(hear)
    assert heard == [handle.id]


# --- unittest ---------------------------------------------------------------------------------------------------------


class CapturedTest(CapturedTasksMixin, TestCase):
    @classmethod
    def setUpTestData(cls):
        transaction.on_commit(lambda: tasks.ran.append("of the class"))
        cls.handle = tasks.make_group("staff")

    def _run_the_task_of_the_class(self):
        assert self.run_pending() == [self.handle]
        assert TaskHandle(self.handle.id).status is DONE
        assert Group.objects.filter(name="staff").exists()
        assert tasks.ran == []

    def test_what_the_class_has_enqueued_runs_in_one_test(self):
        self._run_the_task_of_the_class()

    def test_and_in_the_next_one(self):
        self._run_the_task_of_the_class()

    def test_the_verbs_are_those_of_the_context_manager(self):
        tasks.add.using(delay=5)(1)
        self.assert_enqueued(tasks.add, args=(1,))
        self.assert_not_enqueued(tasks.same)
        self.assertEqual(len(self.drain()), 2)
        self.assertEqual(len(self.tasks), 1)


class CapturedCoroutineTest(CapturedTasksMixin, TestCase):
    async def test_coroutines_enqueue_assert_and_run(self):
        handle = await tasks.add_later.aenqueue(2, 3)
        self.assert_enqueued(tasks.add_later, args=(2, 3))
        with self.assertRaises(WaitInTransaction):
            await handle.await_result(timeout=10)
        self.assertEqual(await self.tasks.arun_pending(), [handle])
        self.assertEqual(await handle.await_result(timeout=10), 5)

    async def test_coroutines_drain(self):
        await tasks.count_groups.using(delay=60).aenqueue()
        await sync_to_async(Group.objects.create)(name="staff")
        (handle,) = await self.tasks.adrain()
        self.assertEqual(await handle.await_result(timeout=10), 1)


class CapturedTransactionTest(CapturedTasksMixin, TransactionTestCase):
    def test_a_rolled_back_call_is_gone(self):
        with self.assertRaises(LookupError), transaction.atomic():
            tasks.add(1)
            raise LookupError
        self.assert_not_enqueued(tasks.add)
        assert requeue.requeue(current(), tasks.add(2).id) is False
        self.assertEqual(len(self.run_pending()), 1)


@pytest.mark.django_db
def test_results_are_kept_as_long_as_the_setting_says_unless_the_task_says_otherwise():
    def ttl(task):
        return read.task(current(), task().id).ttl

    assert ttl(tasks.cancel_itself) == 300
    with override_settings(AUTOTASK_TTL=timedelta(hours=1)):
        assert (ttl(tasks.cancel_itself), ttl(tasks.cancel_itself.using(ttl=5))) == (3600, 5)
    assert ttl(tasks.cancel_itself) == 300
