"""AUTOTASK_CONTEXT: what surrounds a call surrounds the run of its task, wherever that runs."""

import json

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone, translation

from autotask import carriers, payload
from autotask.exceptions import ContextNotCarried, PayloadRefused
from autotask.store.connection import current, rows
from autotask.task import DONE, ERROR, WAITING
from autotask.testing import captured_tasks, immediate
from tests.helpers import ended, wait_until
from tests.integration.django_tasks import tasks as tasks_of_django
from tests.integration.worker import surroundings
from tests.integration.worker.surroundings import (
    ALL,
    BRANCH,
    BROKEN,
    DESK,
    Broken,
    Noted,
    at,
    fail_at_first,
    meet,
    thread,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("kept_children")]

HERE = ("de", "Asia/Kolkata", "third floor")
NOWHERE = ("en", "Europe/Berlin", None)


@pytest.fixture(autouse=True)
def all_carriers(settings, monkeypatch):
    settings.AUTOTASK_CONTEXT = ALL
    settings.AUTOTASK_EXECUTORS = {"everywhere": ("tests.integration.worker.everywhere.threads", 2)}
    monkeypatch.setenv("AUTOTASK_CONTEXT", json.dumps(ALL))  # for processes


@pytest.fixture
def here():
    with translation.override("de"), timezone.override("Asia/Kolkata"), at("third floor"):
        yield


def payload_of(handle):
    [(found,)] = rows(current(), "SELECT payload FROM autotask_live WHERE id = %(id)s", {"id": handle.id})
    return bytes(found)


@pytest.mark.parametrize("pool", surroundings.POOLS.values(), ids=surroundings.POOLS)
def test_a_task_runs_and_its_arguments_are_loaded_in_the_surroundings_of_the_call(pool, here, start_worker):
    start_worker(threads=1, coroutines=1, processes=1)
    assert pool.look(Noted()).wait(30) == (HERE, HERE)


@pytest.mark.parametrize("pool", [surroundings.thread, surroundings.coroutine], ids=["thread", "coroutine"])
def test_nothing_of_it_reaches_the_next_task(pool, start_worker, settings):
    # Given
    start_worker(threads=1, coroutines=1)
    with translation.override("de"), timezone.override("Asia/Kolkata"), at("third floor"):
        first = pool.look(Noted())

    # When
    settings.AUTOTASK_CONTEXT = []
    second = pool.look.using(delay=0)(Noted())
    settings.AUTOTASK_CONTEXT = ALL

    # Then
    assert first.wait(30)[1] == HERE
    loaded, ran = second.wait(30)
    assert (loaded, ran) == (NOWHERE, NOWHERE)


def test_coroutines_at_the_same_time_each_have_their_own(start_worker, tmp_path):
    # Given
    start_worker(coroutines=4)

    # When
    handles = {}
    for name in ("a", "b", "c"):
        with at(name):
            handles[name] = meet(str(tmp_path), 3)

    # Then
    assert {name: handle.wait(30) for name, handle in handles.items()} == {name: (name, name) for name in "abc"}


def test_a_context_variable_of_a_coroutine_is_reset_in_the_context_in_which_it_was_set(start_worker, settings, caplog):
    # Given: reset() refuses a token of another context
    settings.AUTOTASK_CONTEXT = [BRANCH]
    start_worker(coroutines=1)

    # Then
    assert surroundings.say_branch().wait(30) == ("north", "north")
    assert "failed after the end" not in caplog.text


def test_a_retry_has_the_surroundings_of_the_call_too(here, start_worker, tmp_path):
    start_worker()
    fail_at_first(str(tmp_path / "seen")).wait(30)
    assert (tmp_path / "seen").read_text().splitlines() == [str(HERE)] * 2


def test_calls_of_all_kinds_carry(here, start_worker):
    # Given
    start_worker()

    # Then
    assert [handle.wait(30)[1] for handle in thread.look.enqueue_many([(1,), {"loaded": 2}])] == [HERE, HERE]
    assert async_to_sync(thread.look.aenqueue)(1).wait(30)[1] == HERE
    assert thread.look.using(priority=3)(1).wait(30)[1] == HERE


def test_tasks_of_django_carry(here, start_worker):
    # Given
    start_worker()

    # When
    result = tasks_of_django.echo.enqueue(Noted())
    wait_until(lambda: result.refresh() or result.is_finished)

    # Then: a result that is read later also separates arguments from carried values
    assert result.return_value == HERE
    assert len(tasks_of_django.echo.get_result(result.id).args) == 1


def test_immediate_tasks_run_in_the_surroundings_of_the_call_and_leave_those_of_the_test_alone(here):
    with immediate():
        assert thread.look(Noted()).result == (HERE, HERE)
    assert surroundings.seen() == HERE


def test_captured_tasks_run_in_the_surroundings_of_the_call():
    # Given
    with captured_tasks() as tasks, translation.override("de"), timezone.override("Asia/Kolkata"), at("third floor"):
        handle = thread.look(Noted())

    # When
    tasks.run_pending()

    # Then
    assert handle.result == (HERE, HERE)
    assert tasks[0].kwargs == {}


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(RuntimeError("out of order"), "RuntimeError: out of order"), (object(), "not JSON serializable")],
)
def test_a_carrier_that_fails_is_reported_at_the_call_and_nothing_is_enqueued(settings, monkeypatch, answer, reason):
    # Given
    settings.AUTOTASK_CONTEXT = [BROKEN]
    monkeypatch.setattr(Broken, "answer", answer)

    # When
    with pytest.raises(ContextNotCarried, match=f"Broken.*{reason}.*Nothing was enqueued"):
        thread.look(1)

    # Then
    assert rows(current(), "SELECT count(*) FROM autotask_live") == [(0,)]


def test_a_task_with_values_that_a_worker_cannot_restore_waits_for_one_that_can(settings, start_worker):
    # Given: newer code has called
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 600
    with at("third floor"):
        handle = thread.look(1)

    # When
    settings.AUTOTASK_CONTEXT = ALL[:2]
    worker = start_worker()
    wait_until(worker.unknown_tasks.names, what="the worker has met the task")

    # Then
    wait_until(lambda: handle.status is WAITING, what="it is given back")
    settings.AUTOTASK_CONTEXT = ALL
    start_worker()
    assert handle.wait(30)[1][2] == "third floor"


def test_a_task_with_values_that_no_worker_can_restore_ends_in_an_error_that_names_the_carrier(settings, start_worker):
    settings.AUTOTASK_UNKNOWN_TASK_TIMEOUT = 0
    with at("third floor"):
        handle = thread.look(1)
    settings.AUTOTASK_CONTEXT = []
    start_worker()
    assert ended(handle) is ERROR
    assert f"The call carried a value of {DESK}" in handle.error_message
    assert "AUTOTASK_CONTEXT does not have it" in handle.error_message


@pytest.mark.parametrize("pool", [surroundings.thread, surroundings.coroutine], ids=["thread", "coroutine"])
def test_a_carrier_that_cannot_restore_ends_the_task_in_an_error_and_the_next_one_runs(pool, start_worker):
    start_worker(threads=1, coroutines=1)
    with at("gone"):
        handle = pool.look(1)
    assert ended(handle) is ERROR
    assert handle.error_message == "LookupError: no such desk"
    assert pool.look(1).wait(30)[1][2] is None


@pytest.mark.parametrize("pool", [surroundings.thread, surroundings.coroutine], ids=["thread", "coroutine"])
def test_a_carrier_that_fails_after_the_end_changes_no_outcome(pool, start_worker, caplog):
    start_worker(threads=1, coroutines=1)
    with at("sticky"):
        handle = pool.look(1)
    assert ended(handle) is DONE
    wait_until(lambda: "A carrier of AUTOTASK_CONTEXT failed after the end" in caplog.text)


# --- what is stored -------------------------------------------------------------------------------------------------


def test_carried_values_are_signed_and_cannot_be_moved_to_another_task(here, settings):
    # Given
    handle, other = thread.look(1), thread.look(1)
    envelope = payload_of(handle)
    assert payload.load_carried(envelope, id=handle.id, name=handle.name) == dict(zip(ALL, HERE, strict=True))

    # Then
    for altered in (envelope.replace(b"third", b"first"), payload_of(other)):
        with pytest.raises(PayloadRefused, match="its signature does not match"):
            payload.load_carried(altered, id=handle.id, name=handle.name)


def test_signing_again_keeps_carried_values(here, settings):
    # Given
    handle = thread.look(1)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", [settings.SECRET_KEY]

    # When
    envelope = payload.resign_arguments(payload_of(handle), id=handle.id, name=handle.name)

    # Then
    settings.SECRET_KEY_FALLBACKS = []
    assert payload.load_carried(envelope, id=handle.id, name=handle.name) == dict(zip(ALL, HERE, strict=True))
    assert payload.load_arguments(envelope, id=handle.id, name=handle.name) == ((1,), {})


def test_without_carriers_and_with_nothing_to_carry_no_byte_is_added(settings):
    with translation.override(None):
        assert carriers.carried("x") == {}
        nothing = payload_of(thread.look(1))
    settings.AUTOTASK_CONTEXT = []
    unset = payload_of(thread.look(1))
    assert len(nothing) == len(unset) and not payload.carries(nothing) and not payload.carries(unset)


def test_tasks_of_schedules_carry_nothing(here):
    registered = surroundings.hourly
    handle = registered.run_now()
    assert not payload.carries(payload_of(handle))
