"""Paused queues, tasks, limits and everything: nothing of them begins, others go on, and nothing is lost."""

import time
from datetime import timedelta

import pytest

from autotask import acts, handover
from autotask.flow import Flow, LimitGate
from autotask.handle import TaskHandle
from autotask.processes import readable
from autotask.store import enqueue, paused_tasks, read
from autotask.store.connection import current, rows
from autotask.task import DONE, RUNNING, WAITING, State
from autotask.worker import pauser
from autotask.worker.surveyor import Surveyor
from tests.helpers import wait_until
from tests.integration.store.shapes import edit
from tests.integration.worker import limited, tasks
from tests.integration.worker.tasks import gate

pytestmark = pytest.mark.django_db(transaction=True)

ECHO = tasks.echo.name


@pytest.fixture
def quiet_worker(start_worker):
    """A worker with two threads, and without ticks."""
    return start_worker(threads=2)


def state(handle):
    return read.task(current(), handle.id).state


def is_offered(pipes):
    return bool(readable.wait([pipes.offers[0]], 0))


def until_offered(pipes):
    wait_until(lambda: is_offered(pipes), what="an offer")


def stored(column):
    """Return what a column of the live tasks has, by one statement for however many."""
    return {value for (value,) in rows(current(), f"SELECT DISTINCT {column} FROM autotask_live")}


def begun(handles):
    return [handle for handle in handles if handle.status is not WAITING]


def a_moment_later(function):
    """Return what is true for a while."""
    time.sleep(0.5)
    return function()


PAUSES = [{"queue": "mail"}, {"task": ECHO}, {"everything": True}]


@pytest.mark.parametrize("target", PAUSES, ids=str)
def test_nothing_that_is_paused_begins_until_it_is_resumed(quiet_worker, target):
    # Given
    acts.pause(**target)
    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker", seconds=2)

    # When
    handles = [tasks.echo.using(queue="mail")(number) for number in range(5)]

    # Then
    assert a_moment_later(lambda: begun(handles)) == []
    assert acts.resume(**target)
    assert [handle.wait(10) for handle in handles] == list(range(5))


@pytest.mark.parametrize("target", PAUSES, ids=str)
def test_soon_nothing_more_of_a_busy_queue_begins(quiet_worker, target):
    # Given
    handles = tasks.nap.using(queue="mail").enqueue_many([(0.01,)] * 5000)
    wait_until(lambda: handles[20].status is DONE)

    # When
    if "task" in target:
        target = {"task": tasks.nap.name}
    acts.pause(**target)

    # Then
    def ran():
        sql = "SELECT count(*) FROM autotask_result WHERE name = %(name)s"
        return rows(current(), sql, {"name": tasks.nap.name})[0][0]

    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker")
    running = "SELECT 1 FROM autotask_live WHERE state = 2 AND name = %(name)s"
    wait_until(lambda: not rows(current(), running, {"name": tasks.nap.name}), what="the worker is quiet")
    before = ran()
    assert before < 5000
    assert a_moment_later(ran) == before


@pytest.mark.parametrize("target", PAUSES[:2], ids=str)
def test_others_go_on(quiet_worker, target):
    acts.pause(**target)
    paused = tasks.echo.using(queue="mail")(1)
    assert tasks.double(2).wait(10) == 4
    assert paused.status is WAITING


def test_a_task_that_has_begun_goes_on(quiet_worker):
    handle = tasks.pass_gate("paused")
    assert gate("paused reached").wait(10)
    acts.pause(everything=True)
    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker")
    assert handle.status is RUNNING
    gate("paused").set()
    wait_until(lambda: handle.status is DONE)


def test_the_tasks_of_a_paused_name_are_held_and_nothing_is_lost(quiet_worker):
    # Given
    acts.pause(task=ECHO)
    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker")

    # When
    handles = tasks.echo.enqueue_many([(number,) for number in range(1200)])
    wait_until(lambda: stored("state") == {State.HELD}, what="the tasks to be held")
    assert {handle.status for handle in handles} == {WAITING}

    # Then
    acts.resume(task=ECHO)
    wait_until(lambda: not stored("id"), what="the end of all")
    assert [handle.wait(1) for handle in handles] == list(range(1200))
    assert rows(current(), "SELECT 1 FROM autotask_pause") == []


@pytest.fixture
def one_at_a_time(settings):
    """Let the site have one slot for all tasks."""
    settings.AUTOTASK_LIMITS = {"*": 1}


@pytest.mark.parametrize("target", [{"queue": "mail"}, {"task": limited.note.name}], ids=str)
def test_with_a_limit_of_the_site_paused_tasks_hold_up_nobody_and_come_back_in_their_order(
    one_at_a_time, quiet_worker, target
):
    # Given
    limited.noted.clear()
    acts.pause(**target)
    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker")

    # When many of them come before others
    paused = limited.note.using(queue="mail").enqueue_many([(number,) for number in range(1200)])
    others = [tasks.double(number) for number in range(5)]

    # Then
    assert [handle.wait(20) for handle in others] == [0, 2, 4, 6, 8]
    assert begun(paused) == []
    assert stored("passed") == {0}

    # When
    assert acts.resume(**target)
    wait_until(lambda: not stored("id"), what="the end of all", seconds=60)

    # Then: followers, at most 40, are claimed by one statement while another one hands the slot on
    assert sorted(limited.noted) == list(range(1200))
    assert max(abs(place - number) for place, number in enumerate(limited.noted)) <= 100


def test_a_task_that_was_let_through_before_the_pause_of_its_queue_gives_up_its_slot(one_at_a_time, start_worker):
    # Given: a worker that serves another queue lets it through
    start_worker(queues=("default",))
    waiting = tasks.echo.using(queue="mail")(1)
    wait_until(lambda: state(waiting) is State.READY)
    other = tasks.double(2)

    # When
    acts.pause(queue="mail")

    # Then
    assert other.wait(10) == 4
    assert (state(waiting), read.task(current(), waiting.id).gate) == (State.HELD, "pause:queue mail")
    acts.resume(queue="mail")
    wait_until(lambda: state(waiting) is State.READY)


def test_a_pause_that_has_an_end_ends_by_itself(quiet_worker):
    acts.pause(task=ECHO, until=timedelta(seconds=1))
    acts.pause(queue="mail", until=timedelta(seconds=1))
    wait_until(lambda: quiet_worker.serving.paused, what="a look of the worker")
    handles = [tasks.echo(1), tasks.double.using(queue="mail")(2)]
    began = time.monotonic()
    assert [handle.wait(10) for handle in handles] == [1, 4]
    assert time.monotonic() - began > 0.3


def test_pauses_outlast_workers(start_worker):
    # Given
    acts.pause(task=ECHO)
    first = start_worker()
    handle = tasks.echo(1)
    wait_until(lambda: state(handle) is State.HELD, what="the task to be held")
    first.stop()

    # When
    start_worker()

    # Then
    assert tasks.double(1).wait(10) == 2
    assert a_moment_later(lambda: handle.status) is WAITING
    acts.resume(task=ECHO)
    assert handle.wait(10) == 1


def test_a_task_that_was_held_after_its_pause_was_over_is_let_go_in_a_while(quiet_worker):
    # Given: another worker has held it, and has died
    acts.pause(task=ECHO)
    acts.resume(task=ECHO)
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_pause") == [], what="the end of the pause")
    handle = tasks.echo.using(delay=600)(1)
    edit(
        "UPDATE autotask_task SET state = 8, gate = %(gate)s WHERE id = %(id)s",
        {"gate": f"pause:{ECHO}", "id": handle.id},
    )

    # When
    quiet_worker.services.others.hurry(Surveyor)

    # Then
    assert handle.wait(10) == 1


def test_a_paused_limit_lets_tasks_pass_when_it_is_resumed(quiet_worker):
    # Given
    acts.pause(limit="site")
    task = tasks.echo.new_call((1,), {})._replace(flow=Flow((LimitGate("limit:site", "site", 1),)))
    enqueue.insert_flowing(current(), [task])
    handle = TaskHandle(task.id)

    # Then
    assert tasks.double(1).wait(10) == 2
    assert a_moment_later(lambda: state(handle)) is State.HELD
    acts.resume(limit="site")
    assert handle.wait(10) == 1


# --- what is handed over --------------------------------------------------------------------------------------------


@pytest.fixture
def companion(serve, pipes):
    worker = serve()
    until_offered(pipes)
    return worker


@pytest.mark.parametrize("target", [*PAUSES, {"queue": "other"}], ids=str)
def test_a_companion_offers_nothing_while_something_is_paused(companion, pipes, target):
    acts.pause(**target)
    wait_until(lambda: companion.serving.paused and not is_offered(pipes), what="the offer to be taken back", seconds=2)
    acts.resume(**target)
    until_offered(pipes)


@pytest.mark.parametrize("target", PAUSES, ids=str)
def test_a_paused_task_that_was_handed_over_all_the_same_does_not_begin(companion, pipes, target):
    # Given: a caller that has taken the offer, and whose INSERT takes a while
    offer = wait_until(pipes.take_offer, what="an offer")
    acts.pause(**target)
    wait_until(lambda: companion.serving.paused, what="a look of the worker")

    # When
    task = tasks.echo.using(queue="mail").new_call((1,), {})
    fence = enqueue.insert_claimed(current(), task, offer.worker_id)
    pipes.hand_over(handover.dump(task, fence, offer))

    # Then
    handle = TaskHandle(task.id)
    wait_until(lambda: handle.status is WAITING)
    assert a_moment_later(lambda: handle.status) is WAITING
    acts.resume(**target)
    assert handle.wait(10) == 1


# --- what it costs --------------------------------------------------------------------------------------------------


def asks_no_more(looks):
    """Whether nobody looks for longer than the time between two looks."""
    before = len(looks)
    time.sleep(1.5 * pauser.LOOK_EVERY)
    return len(looks) == before


def test_a_worker_asks_for_pauses_only_while_there_are_some(start_worker, monkeypatch):
    # Given
    looks, real = [], paused_tasks.look
    monkeypatch.setattr(paused_tasks, "look", lambda connection: looks.append(time.monotonic()) or real(connection))
    start_worker()
    assert tasks.echo(1).wait(10) == 1
    assert asks_no_more(looks)
    assert looks == []

    # When
    acts.pause(queue="other")
    wait_until(lambda: len(looks) > 2, what="some looks")
    acts.resume(queue="other")

    # Then
    wait_until(lambda: asks_no_more(looks), what="the last look")
