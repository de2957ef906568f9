"""Rows that the database refuses, for whatever reason: they stop neither their worker nor others."""

import contextlib
import time

import pytest
from django.db import DatabaseError

from autotask.context import Progress
from autotask.store import claim, finish, forgotten, promote, prune
from autotask.store.claim import Lane
from autotask.store.connection import current, execute, rows
from autotask.store.survey import Chore
from autotask.task import DONE, ERROR, RUNNING, WAITING, State
from autotask.worker import aside
from autotask.worker.chores import Chores
from autotask.worker.claiming.claimer import Claimer, Prospect
from autotask.worker.options import WorkerOptions
from autotask.worker.registration import Registration
from autotask.worker.rescuer import Rescuer
from tests.helpers import ended, wait_until
from tests.integration.store.shapes import count, edit, now, outcome, put, sign_on, state, take
from tests.integration.worker import inside, tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def soon_again(monkeypatch):
    monkeypatch.setattr(aside, "FIRST_WAIT", 0.2)


def batch_with(odd):
    """Return the handles of tasks that end together, one of them odd."""
    return tasks.echo.enqueue_many([(number,) for number in range(20)]) + [odd()]


def lines(caplog, words):
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def test_a_result_that_a_trigger_refuses_becomes_an_error_and_holds_up_nobody(start_worker, refuse):
    # Given
    refuse("autotask_result", "INSERT", "NEW.name LIKE '%echo_length' AND NEW.state = 3")
    handles = batch_with(lambda: tasks.echo_length("four"))

    # When
    start_worker()

    # Then
    *others, odd = handles
    assert ended(odd) is ERROR
    assert "its outcome could not be stored" in odd.error_message and "refused by a test" in odd.error_message
    assert {ended(handle) for handle in others} == {DONE}


def test_a_task_whose_result_is_there_already_is_left_alone_and_run_once(start_worker, caplog, tmp_path, settings):
    # Given: a row of a result with the id of a task that waits
    settings.AUTOTASK_LEASE = 1
    handles = batch_with(lambda: tasks.write(str(tmp_path / "lines"), "run"))
    *others, odd = handles
    execute(
        current(),
        """
        INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, attempt, failures, lost,
                                     retries, ttl, ended_at, kept_until)
        SELECT id, 3, queue, priority, name, arguments, created_at, run_at, 1, 0, 0, 0, ttl, now(), now() + interval '1 day'
        FROM autotask_live WHERE id = %(id)s
        """,
        {"id": odd.id},
    )

    # When
    worker = start_worker()

    # Then
    assert {ended(handle) for handle in others} == {DONE}
    wait_until(lambda: lines(caplog, "is set aside"), what="the line about it")
    wait_until(lambda: not worker.held, what="the end of its hold")
    time.sleep(1.5)  # longer than the lease: time enough for a release or a rescue
    assert (tmp_path / "lines").read_text() == "run\n"
    assert rows(current(), "SELECT state, lost FROM autotask_live WHERE id = %(id)s", {"id": odd.id}) == [(2, 0)]
    assert len(lines(caplog, "is set aside")) == 1


@pytest.mark.parametrize("code", ["P0001", "42501", "54000"])
def test_outcomes_that_are_all_refused_are_recorded_when_the_cause_is_gone(start_worker, refuse, settings, code):
    # Given
    settings.AUTOTASK_LEASE = 1
    end = refuse("autotask_result", "INSERT", code=code)
    worker = start_worker()
    handles = [tasks.echo(number) for number in range(3)]
    wait_until(lambda: len(worker.recorder.unrecorded()) >= 3, 30, what="the setting aside")
    assert {handle.status for handle in handles} == {RUNNING}

    # When
    end()

    # Then
    assert [handle.wait(20) for handle in handles] == [0, 1, 2]
    wait_until(lambda: not worker.recorder.unrecorded(), what="the end of it")


def test_a_retry_that_is_refused_becomes_an_error(start_worker, refuse, tmp_path):
    # Given
    refuse("autotask_attempt", "INSERT", "NEW.state = 6")
    handles = batch_with(lambda: tasks.fail_until(str(tmp_path / "calls"), 3))

    # When
    start_worker()

    # Then
    *others, odd = handles
    assert ended(odd) is ERROR
    assert {ended(handle) for handle in others} == {DONE}


def test_a_task_that_cannot_be_released_is_set_aside(start_worker, refuse, tmp_path, caplog):
    # Given
    refuse("autotask_task", "UPDATE", "OLD.state = 1 AND NEW.state = 0 AND NEW.name LIKE '%snooze_once'")
    handles = batch_with(lambda: inside.snooze_once(str(tmp_path / "calls"), 60))

    # When
    worker = start_worker()

    # Then
    *others, odd = handles
    assert {ended(handle) for handle in others} == {DONE}
    wait_until(lambda: worker.recorder.unrecorded(), what="the setting aside")
    assert odd.status is RUNNING
    assert lines(caplog, "is set aside")


def test_progress_that_is_refused_holds_up_neither_other_progress_nor_the_end(start_worker, refuse):
    # Given
    refuse("autotask_task", "UPDATE", "NEW.progress_done = 13")
    start_worker()

    # When
    odd, even = inside.report("odd", (13, 20), (13, 20)), inside.report("even", (1, 20), (2, 20))

    # Then
    wait_until(lambda: even.progress == Progress(1, 20), what="the progress of the other task")
    for name in ("odd", "even"):
        tasks.gate(name).set()
    assert (ended(odd), odd.progress) == (DONE, None)
    assert (ended(even), even.progress) == (DONE, Progress(2, 20))


def test_an_orphan_that_cannot_be_rescued_keeps_no_other_from_its_rescue(refuse, caplog):
    # Given: a dead worker with several tasks; one of them has died too often, and cannot be ended
    dead = sign_on()
    ids = put(9)
    odd = take(dead)[4].id
    edit("UPDATE autotask_task SET lost = 2 WHERE id = %(id)s", {"id": odd})
    execute(current(), "UPDATE autotask_worker SET lease_until = now() - interval '1 s'")
    refuse("autotask_result", "INSERT", f"NEW.id = '{odd}'")
    rescuer = Rescuer(Registration(WorkerOptions(), ()), Chores(Chore), lambda: None)

    # When
    rescuer.run_once(current())

    # Then
    assert {state(id) for id in ids if id != odd} == {State.READY}
    assert state(odd) is State.RUNNING
    assert len(lines(caplog, "can be neither rescued nor finished")) == 1
    assert count("autotask_worker") == 0

    # and a second look leaves it alone, and takes in what is new
    second = sign_on()
    (new,) = put(1, queue="new")
    take(second, lanes=[Lane("new", 0)])
    execute(current(), "UPDATE autotask_worker SET lease_until = now() - interval '1 s'")
    rescuer._chores.add(Chore)
    rescuer.run_once(current())
    assert (state(new), state(odd)) == (State.READY, State.RUNNING)
    assert len(lines(caplog, "can be neither rescued nor finished")) == 1


def test_a_task_that_cannot_be_made_ready_keeps_no_other_from_its_moment(refuse):
    # Given
    ids = put(9, delay=-0.0, run_after=now())
    edit("UPDATE autotask_task SET state = 0, ready_at = NULL, run_at = clock_timestamp()")
    refuse("autotask_task", "UPDATE", f"NEW.id = '{ids[4]}'")
    refused = promote.refusals()

    # When
    found, _ = promote.promote(current(), refused=refused)

    # Then
    assert found == 8
    assert {state(id) for id in ids if id != ids[4]} == {State.READY}
    assert (state(ids[4]), refused.spared()) == (State.SCHEDULED, [ids[4]])
    assert promote.promote(current(), refused=refused) == (0, None)


def test_a_result_that_something_refers_to_keeps_no_other_from_being_pruned(refuse):
    # Given
    (worker,) = [sign_on()]
    put(9)
    tasks = take(worker)
    finish.end(current(), [outcome(task) for task in tasks], now=time.monotonic(), error_ttl=0)
    execute(current(), "UPDATE autotask_result SET kept_until = clock_timestamp() - interval '1 s'")
    refuse("autotask_result", "DELETE", f"OLD.id = '{tasks[4].id}'", code="23503")
    pruning = prune.Pruning()

    # When
    pruned = pruning.piece(current())

    # Then
    assert pruned.results == 8
    assert state(tasks[4].id) is State.DONE
    assert pruning.piece(current()) == (0, 0, False)


def test_many_tasks_that_cannot_be_claimed_are_passed_over_without_being_tried_one_by_one(refuse):
    # Given
    worker = sign_on()
    put(152, name="bad")
    (good,) = put()
    refuse("autotask_ready", "DELETE", "EXISTS (SELECT FROM autotask_task t WHERE t.id = OLD.id AND t.name = 'bad')")
    refused = claim.refusals()

    # When
    claimed = []
    for _ in range(70):
        with contextlib.suppress(DatabaseError):
            claimed += take(worker, limit=4, refused=refused)
        if claimed:
            break

    # Then
    assert [task.id for task in claimed] == [good]


@pytest.mark.schedules("tests.ticking", "tests.inside.tick")
def test_a_schedule_whose_task_is_refused_keeps_no_other_from_its_ticks(refuse, start_worker):
    # Given
    refuse("autotask_task", "INSERT", "NEW.schedule = 'tests.inside.tick'")

    # When
    start_worker()

    # Then
    wait_until(
        lambda: count("autotask_result WHERE schedule = 'tests.ticking'") > 1, what="the ticks of the other schedule"
    )
    assert count("autotask_live WHERE schedule = 'tests.inside.tick'") == 0


@pytest.mark.schedules("tests.ticking", "tests.inside.tick")
def test_a_schedule_that_cannot_be_registered_keeps_no_other_from_its_ticks(refuse, start_worker):
    # Given
    refuse("autotask_schedule", "INSERT", "NEW.name = 'tests.inside.tick'")

    # When
    start_worker()

    # Then
    wait_until(
        lambda: count("autotask_result WHERE schedule = 'tests.ticking'") > 1, what="the ticks of the other schedule"
    )
    assert count("autotask_schedule WHERE name = 'tests.inside.tick'") == 0


@pytest.mark.parametrize("task", [tasks.echo, tasks.double], ids=["thread", "coroutine"])
def test_a_task_that_cannot_be_claimed_keeps_no_other_from_being_run(start_worker, refuse, caplog, monkeypatch, task):
    # Given: the first one in its lane
    odd, *others = task.enqueue_many([(number,) for number in range(9)])
    end = refuse("autotask_ready", "DELETE", f"OLD.id = '{odd.id}'")

    looks, claim_once = [], Claimer.take
    monkeypatch.setattr(Claimer, "take", lambda *args: looks.append(claim_once(*args)) or looks[-1])

    # When
    start_worker()

    # Then
    assert {ended(handle) for handle in others} == {DONE}
    assert ended(task(10)) is DONE
    assert odd.status is WAITING
    assert len(lines(caplog, "cannot be claimed")) == 1
    wait_until(lambda: looks[-1] is Prospect.NOTHING, what="a worker that sees nothing to do")
    end()


def test_a_task_that_cannot_be_released_keeps_no_other_from_its_release(refuse):
    # Given: tasks that were claimed without the knowledge of their worker
    worker = sign_on()
    put(9)
    claimed = take(worker)
    refuse("autotask_task", "UPDATE", f"NEW.id = '{claimed[4].id}'")
    refused = claim.refusals()

    # When
    found = forgotten.reconcile(current(), worker, [claimed[0].fence], refused=refused)

    # Then
    assert set(found) == {task.id for task in claimed} - {claimed[0].id, claimed[4].id}
    assert forgotten.reconcile(current(), worker, [claimed[0].fence], refused=refused) == []
