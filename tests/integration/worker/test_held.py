"""Held tasks on real workers: whoever frees a slot has the next task run at once, however idle its worker is."""

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.handle import TaskHandle
from autotask.store import enqueue, read
from autotask.store.connection import current
from autotask.task import DONE, State
from tests.helpers import ended, wait_until
from tests.integration.worker import tasks
from tests.integration.worker.test_pausing import state

pytestmark = pytest.mark.django_db(transaction=True)

KEY = LimitGate("limit:key", "key", 1)
SITE = LimitGate("limit:site", "site", 5)


def call(task, *args, gates):
    new = task.new_call(args, {})._replace(flow=Flow(gates))
    enqueue.insert_flowing(current(), [new])
    return TaskHandle(new.id)


@pytest.fixture
def lazy_worker(start_worker, settings):
    """A worker that looks for work by itself only once in a long time."""
    settings.AUTOTASK_POLL_INTERVAL = 600
    settings.AUTOTASK_LEASE = 1200
    worker = start_worker(threads=4)
    return worker


def until_lazy(worker):
    """Wait until the worker sleeps for minutes, so that only what is tested can wake it in time."""
    idle, minutes = worker.claimer.idle, 300.0

    def sleeps() -> bool:
        if 0.2 < idle.seconds < minutes:
            idle.seconds = minutes  # The sleep after the present one is twice as long.
        return idle.seconds > minutes

    wait_until(sleeps, what="a long sleep")


def behind(first_gates, worker, task=tasks.pass_gate):
    """Hold a task behind one that runs, and return both once the worker sleeps."""
    first = call(task, "behind", gates=first_gates)
    worker.wakeup.call()
    assert tasks.gate("behind reached").wait(10)
    second = call(tasks.echo, 2, gates=first_gates)
    until_lazy(worker)
    assert state(second) is State.HELD
    return first, second


@pytest.mark.parametrize("gates", [(KEY,), (KEY, SITE)], ids=["one", "several"])
def test_the_end_of_a_task_lets_the_next_one_run_at_once(lazy_worker, gates):
    first, second = behind(gates, lazy_worker)
    tasks.gate("behind").set()
    assert (ended(first), second.wait(20)) == (DONE, 2)


def test_a_task_that_fails_and_waits_lets_the_next_one_run_at_once(lazy_worker):
    first, second = behind((KEY,), lazy_worker, tasks.fail_behind_gate.using(retries=1))
    tasks.gate("behind").set()
    assert second.wait(20) == 2


def test_a_cancelled_task_lets_the_next_one_run_at_once(lazy_worker):
    # Given: one that has a slot of its key, and waits for the site
    only = LimitGate("limit:only", "only", 1)
    first = call(tasks.pass_gate, "behind", gates=(only,))
    lazy_worker.wakeup.call()
    assert tasks.gate("behind reached").wait(10)
    waiting, next = call(tasks.echo, 1, gates=(KEY, only)), call(tasks.echo, 2, gates=(KEY,))
    until_lazy(lazy_worker)
    assert (state(waiting), state(next)) == (State.HELD, State.HELD)

    # When
    waiting.cancel()
    assert next.wait(20) == 2
    tasks.gate("behind").set()
    assert ended(first) is DONE


def test_busy_threads_do_not_hold_up_tasks_at_a_rate_that_run_elsewhere(start_worker):
    worker = start_worker(threads=1)
    blocking, *_ = tasks.pass_gate.enqueue_many([("behind",)] * 300)
    assert tasks.gate("behind reached").wait(10)
    wait_until(lambda: not worker.claimer.room(), what="a worker whose threads have no room", seconds=20)
    quick = call(tasks.double, 1, gates=(RateGate("rate:r", "r", 0.1, 5.0),))
    assert quick.wait(10) == 2
    tasks.gate("behind").set()
    assert ended(blocking) is DONE


def test_an_outcome_does_not_suffer_from_the_task_that_comes_next(lazy_worker, refuse):
    first, second = behind((KEY,), lazy_worker)
    end_refusal = refuse("autotask_task", "UPDATE", f"OLD.id = '{second.id}'")
    tasks.gate("behind").set()
    assert first.wait(20) == "behind"
    end_refusal()


@pytest.mark.parametrize("gates", [(KEY,), (KEY, SITE)], ids=["one", "several"])
def test_a_burst_goes_on_while_its_tasks_let_others_pass(start_worker, gates):
    handles = [call(tasks.echo, number, gates=gates) for number in range(30)]
    worker = start_worker(threads=2, burst=True)
    wait_until(lambda: not read.workers(current()) and worker.shutdown.is_requested(), what="its end", seconds=20)
    assert [handle.status for handle in handles] == [DONE] * 30
