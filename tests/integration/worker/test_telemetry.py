"""AUTOTASK_TELEMETRY: those who are told of calls and attempts, in all pools, and what happens if they fail."""

import json
import os
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction

from autotask import payload, telemetry
from autotask.signals import tell_lost
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, ERROR
from autotask.testing import immediate
from autotask.worker.lost_attempts import LostAttempts
from tests.children import KeptChild
from tests.helpers import ended, wait_until
from tests.integration.django_tasks import tasks as tasks_of_django
from tests.integration.worker import told
from tests.integration.worker.told import POOLS, in_thread, lines

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]

every_pool = pytest.mark.parametrize("task", [pool.task for pool in POOLS.values()], ids=POOLS)


@pytest.fixture(autouse=True, scope="module")
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:  # for processes, which are kept from test to test
        patched.setenv(told.VARIABLE, str(tmp_path_factory.mktemp("told") / "lines"))
        patched.setenv("AUTOTASK_TELEMETRY", json.dumps([told.FAILING, told.PATH]))
        yield


@pytest.fixture(autouse=True)
def told_of_all(settings):
    Path(os.environ[told.VARIABLE]).unlink(missing_ok=True)
    settings.AUTOTASK_TELEMETRY = [told.FAILING, told.PATH]


def attempts(handle):
    return wait_until(lambda: [line for line in lines("attempt") if line["id"] == str(handle.id)], what="the attempt")


@every_pool
def test_an_attempt_runs_inside_the_block_and_gets_what_travels_with_its_call(task, start_worker):
    # Given
    start_worker(threads=1, coroutines=1, processes=1)

    # When
    handle = task("look", password="12345")

    # Then
    assert handle.wait(30) == str(handle.id)
    [call] = [line for line in lines("call") if line["ids"] == [str(handle.id)]]
    assert (call["name"], call["queue"], call["bulk"]) == (task.name, "default", False)
    [attempt] = attempts(handle)
    assert attempt["carried"] == "along"
    assert (attempt["number"], attempt["outcome"], attempt["failure"], attempt["here"]) == (1, "done", None, True)
    assert "look" in attempt["arguments"]
    assert "12345" not in attempt["arguments"]
    [end] = [line for line in lines("ended") if line["id"] == str(handle.id)]
    assert end["inside"] == str(handle.id)


@every_pool
def test_each_attempt_of_a_failing_task_is_told_with_its_failure(task, start_worker):
    start_worker(threads=1, coroutines=1, processes=1)
    handle = task("fail")
    assert ended(handle) == ERROR
    wait_until(lambda: len(attempts(handle)) == 2, what="both attempts")
    seen = [(line["number"], line["outcome"], line["failure"], line["carried"]) for line in attempts(handle)]
    assert seen == [(1, "retry", "LookupError", "along"), (2, "error", "LookupError", "along")]


def test_what_a_task_asks_for_is_no_failure(worker):
    asked, discarded = in_thread("again"), in_thread("discard")
    assert (ended(asked), ended(discarded)) == (ERROR, CANCELLED)
    wait_until(lambda: len(attempts(asked)) == 2, what="both attempts")
    assert [(line["outcome"], line["failure"]) for line in attempts(asked)] == [("retry", None), ("error", "Retry")]
    assert [(line["outcome"], line["failure"]) for line in attempts(discarded)] == [("cancelled", None)]


def test_an_attempt_that_is_killed_is_told_by_the_worker(start_worker):
    start_worker(processes=1)
    handle = told.hang("x")
    assert ended(handle) == ERROR
    [attempt] = attempts(handle)
    assert (attempt["here"], attempt["outcome"], attempt["failure"]) == (False, "error", "TimeLimitExceeded")


def test_an_attempt_whose_process_died_is_told_once_by_the_worker(start_worker):
    start_worker(processes=1)
    handle = told.exit_once("x")
    assert ended(handle) == DONE
    wait_until(lambda: len(attempts(handle)) == 2, what="both attempts")
    lost, done = sorted(attempts(handle), key=lambda line: line["number"])
    assert (lost["here"], lost["outcome"], lost["number"], lost["carried"]) == (False, "lost", 1, "along")
    assert (done["here"], done["outcome"]) == (True, "done")


def test_a_lost_attempt_is_told_when_the_database_can_be_read_again():
    # Given
    service, handle = LostAttempts(), in_thread("look")
    execute(
        current(),
        """INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at, error_message, traceback)
           VALUES (%(id)s, 1, 1, 7, now(), 'its worker died', '')""",
        {"id": handle.id},
    )
    tell_lost(handle.id, in_thread.name, "default", "its worker died", False)

    # When
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(DatabaseError):
            execute(current(), "SELECT 1 / 0")
        with pytest.raises(DatabaseError):
            service.run_once(current())
    assert [line for line in lines("attempt") if line["id"] == str(handle.id)] == []
    service.run_once(current())
    service.run_once(current())

    # Then
    [attempt] = attempts(handle)
    assert (attempt["outcome"], attempt["here"]) == ("lost", False)


def test_calls_in_bulk_are_told_together_and_each_carries_it():
    handles = in_thread.enqueue_many([("a",), ("b",)])
    [call] = lines("call")
    assert call["bulk"]
    assert call["ids"] == [str(handle.id) for handle in handles]
    found = rows(current(), "SELECT id, payload FROM autotask_live")
    assert [payload.load_carried(bytes(data), id=id, name=in_thread.name) for id, data in found] == [
        {"telemetry": {told.PATH: "along"}}
    ] * 2


def test_tasks_of_django_and_tests_in_place_are_told():
    with immediate():
        handle = in_thread("look")
    assert handle.result == str(handle.id)
    assert [line["outcome"] for line in attempts(handle)] == ["done"]
    tasks_of_django.echo.enqueue("x")
    assert tasks_of_django.echo.module_path in [line["name"] for line in lines("call")]


def test_a_worker_that_tells_nobody_runs_calls_that_carry_something(settings, start_worker):
    # Given
    handle = in_thread("look")
    settings.AUTOTASK_TELEMETRY = []

    # When
    start_worker()

    # Then
    assert handle.wait(30) is None
    assert ended(handle) == DONE
    assert lines("attempt") == []


def test_without_the_setting_nothing_is_looked_at_and_no_byte_is_stored(settings):
    settings.AUTOTASK_TELEMETRY = []
    assert telemetry.used is None
    in_thread("look")
    [(data,)] = rows(current(), "SELECT payload FROM autotask_live")
    assert not payload.carries(bytes(data))


def test_what_is_left_is_sent_when_a_worker_and_its_child_end(start_worker):
    # Given
    worker = start_worker(processes=1)
    assert ended(told.in_process("look")) == DONE

    # When
    worker.stop()
    wait_until(lambda: lines("flush"), what="the words of the worker")
    KeptChild.end_all()

    # Then
    wait_until(lambda: len({line["pid"] for line in lines("flush")}) == 2, what="the words of both processes")
