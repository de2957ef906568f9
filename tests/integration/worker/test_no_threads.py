"""Where the system has no thread left, and where the loop meets what nobody has thought of: no task is lost by that."""

import threading
from itertools import pairwise

import pytest

from autotask.processes.exit_status import FAILED, RECYCLED
from autotask.store import read
from autotask.store.connection import current
from autotask.task import DONE, THREAD, WAITING, State
from autotask.worker import coroutine, loop, runner, sync_threads
from autotask.worker.claiming.claimer import Claimer
from autotask.worker.claiming.intake import Intake
from autotask.worker.claiming.placement import Placement
from autotask.worker.lanes import Lanes
from autotask.worker.loop import Loop
from autotask.worker.options import WorkerOptions
from autotask.worker.receiver import Receiver
from autotask.worker.service import ServiceThread
from autotask.worker.worker import Worker
from tests.helpers import wait_until
from tests.integration.worker import everywhere, tasks
from tests.integration.worker.surroundings import BRANCH, say_branch

pytestmark = pytest.mark.django_db(transaction=True)

NO_THREAD = "can't start new thread"


@pytest.fixture
def soon(monkeypatch):
    """Tasks that are released for lack of a thread or process come back soon."""
    monkeypatch.setattr(runner, "WITHOUT_THREAD", 1.0)
    monkeypatch.setattr(runner, "WITHOUT_PROCESS", 1.0)


@pytest.fixture
def no_thread_of_coroutines(monkeypatch):
    """No coroutine of this process has used the database yet."""
    shared = sync_threads.SharedThread()
    monkeypatch.setattr(sync_threads, "shared", shared)
    monkeypatch.setattr(coroutine, "shared", shared)


def said(caplog, words):
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def stored(handles):
    return [read.task(current(), handle.id) for handle in handles]


def attempts(handles):
    return [(handle.attempts, [attempt.state for attempt in handle.failed_attempts]) for handle in handles]


@pytest.mark.parametrize("where", ["coroutine", "process", "executor"])
def test_at_the_limit_of_threads_tasks_are_released_and_run_when_there_is_room_again(
    start_worker, settings, limit, soon, caplog, where
):
    # Given
    settings.AUTOTASK_EXECUTORS = {"everywhere": ("tests.integration.worker.everywhere.threads", 2)}
    worker = start_worker()
    assert tasks.echo(1).wait(10) == 1
    limit(True)

    # When
    handles = everywhere.ALL[where].echo.enqueue_many([(number,) for number in range(5)])

    # Then
    wait_until(lambda: said(caplog, "is released, since it cannot be run here now"), what="a word on it")
    wait_until(lambda: {(row.state, row.attempt) for row in stored(handles)} == {(State.SCHEDULED, 0)})
    assert tasks.echo(2).wait(10) == 2
    assert worker.exit_status == 0

    # When
    limit(False)

    # Then
    assert [handle.wait(20) for handle in handles] == list(range(5))
    assert attempts(handles) == [(1, [])] * 5
    assert len(said(caplog, NO_THREAD)) == 1


def test_a_coroutine_without_a_thread_to_use_the_database_is_released(
    start_worker, no_thread_of_coroutines, limit, soon, caplog
):
    # Given an event loop that runs already
    worker = start_worker()
    assert tasks.echo(1).wait(10) == 1
    worker.pools["coroutine"]._start()
    limit(True)

    # When
    handles = tasks.double.enqueue_many([(number,) for number in range(5)])
    wait_until(lambda: said(caplog, "is released, since it cannot be run here now"), what="a word on it")
    limit(False)

    # Then
    assert [handle.wait(20) for handle in handles] == [2 * number for number in range(5)]
    assert attempts(handles) == [(1, [])] * 5
    assert len(said(caplog, NO_THREAD)) == 1


def test_a_coroutine_whose_carriers_need_a_thread_of_its_own_is_released(start_worker, settings, limit, soon, caplog):
    # Given
    settings.AUTOTASK_CONTEXT = [BRANCH]
    start_worker()
    assert say_branch().wait(10) == ("north", "north")
    limit(True)

    # When
    handle = say_branch()
    wait_until(lambda: said(caplog, "is released, since it cannot be run here now"), what="a word on it")
    limit(False)

    # Then
    assert handle.wait(20) == ("north", "north")
    assert attempts([handle]) == [(1, [])]


def test_a_coroutine_has_one_outcome_although_it_cannot_be_tidied_after_it(start_worker, monkeypatch, caplog):
    # Given
    async def fail(ended, is_idle):
        raise RuntimeError(NO_THREAD)

    monkeypatch.setattr(coroutine, "tidy", fail)
    worker = start_worker()
    put, records = worker.recorder.put, []
    worker.recorder.put = lambda record: (records.append(record), put(record))

    # When, then
    handle = tasks.double(2)
    assert handle.wait(10) == 4
    wait_until(lambda: said(caplog, "could not be tidied"), what="a word on it")
    assert [ended.state for task, ended in records if task.id == handle.id] == [State.DONE]


def test_a_worker_without_threads_for_its_services_does_not_begin(limit, caplog):
    # Given
    worker = Worker(WorkerOptions())
    limit(True)

    # When, then
    assert worker.run() is False
    assert worker.exit_status == FAILED
    assert said(caplog, NO_THREAD)
    assert not read.workers(current())


# --- the loop -------------------------------------------------------------------------------------------------------


class Unforeseen(Exception):
    """An unforeseen error."""


def fail_once(monkeypatch, owner, name, after, thread=None):
    """Have a method raise once, before or after it has done what it should; in any thread, or in the one of that name."""
    method, failures = getattr(owner, name), []

    def fail(*args, **kwargs):
        fails = not failures and thread in (None, threading.current_thread().name)
        value = method(*args, **kwargs) if after or not fails else None
        if fails:
            failures.append(True)
            raise Unforeseen
        return value

    monkeypatch.setattr(owner, name, fail)
    return failures


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Claimer, "take"),
        (Claimer, "look"),
        (Intake, "claim"),
        (Placement, "place"),
        (Loop, "promote"),
        (Receiver, "accept"),
        (Receiver, "prepare"),
        (Loop, "sleep"),
    ],
)
def test_a_turn_that_fails_costs_no_task_and_no_attempt(start_worker, monkeypatch, caplog, owner, name, after):
    # Given
    start_worker()
    assert tasks.echo(0).wait(10) == 0
    failures = fail_once(monkeypatch, owner, name, after)

    # When
    handles = tasks.echo.enqueue_many([(number,) for number in range(20)])
    handles.append(tasks.echo.using(delay=0.1)(20))

    # Then
    assert [handle.wait(20) for handle in handles] == list(range(21))
    wait_until(lambda: failures)
    assert {handle.attempts for handle in handles} == {1}
    assert len(said(caplog, "Cannot claim tasks, will try again")) == 1


def test_tasks_claimed_in_a_turn_that_fails_are_released(start_worker, monkeypatch):
    # Given: a task that is claimed, while the answer is lost
    start_worker()
    assert tasks.echo(0).wait(10) == 0
    failures = fail_once(monkeypatch, Lanes, "claimed", after=False)

    # When
    handles = tasks.echo.enqueue_many([(number,) for number in range(20)])

    # Then
    assert [handle.wait(20) for handle in handles] == list(range(20))
    assert failures and {handle.attempts for handle in handles} == {1}
    assert all(handle.failed_attempts == () or handle.failed_attempts == [] for handle in handles)


def test_a_pool_that_takes_nothing_in_costs_no_task(start_worker, monkeypatch, soon):
    worker = start_worker()
    failures = fail_once(monkeypatch, worker.pools[THREAD], "submit_all", after=False)
    handles = tasks.echo.enqueue_many([(number,) for number in range(20)])
    assert [handle.wait(20) for handle in handles] == list(range(20))
    assert failures and {handle.attempts for handle in handles} == {1}


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), MemoryError()], ids=lambda error: type(error).__name__
)
def test_a_worker_whose_loop_cannot_go_on_leaves_in_the_ordinary_way(start_worker, monkeypatch, error):
    # Given
    monkeypatch.setattr(loop, "MOST_FAILED_TURNS", 2)
    worker = start_worker(threads=1)
    runs = tasks.pass_gate(f"last {type(error).__name__}")
    assert tasks.gate(f"last {type(error).__name__} reached").wait(10)

    # When
    def fail(claimer, connection):
        raise error

    monkeypatch.setattr(Claimer, "take", fail)
    worker.wakeup.wake()
    wait_until(lambda: worker.exit_status == RECYCLED, what="a worker that is recycled")
    waits = tasks.echo("waits")

    # Then
    tasks.gate(f"last {type(error).__name__}").set()
    assert runs.wait(10) == f"last {type(error).__name__}"
    wait_until(lambda: not read.workers(current()), what="the sign-off")
    assert (waits.status, waits.attempts, runs.status) == (WAITING, 0, DONE)


def test_a_service_thread_goes_on_after_an_unforeseen_error(start_worker, monkeypatch, caplog):
    # Given
    start_worker()
    failures = fail_once(monkeypatch, ServiceThread, "sleep", after=False, thread="autotask-heartbeat")

    # Then
    wait_until(lambda: failures)
    wait_until(lambda: said(caplog, "The services of the worker"), what="a word on it")
    seen = []
    wait_until(
        lambda: seen.append(read.workers(current())[0].seen) or any(a > b for a, b in pairwise(seen)),
        what="another sign of life",
    )
