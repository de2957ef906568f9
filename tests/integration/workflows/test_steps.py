"""Steps of functions: a step that has ended is not run again."""

import pytest
from django.core.management import call_command
from django.db import connection

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.models import Step
from autotask.store.connection import current, execute
from autotask.task import DONE, ERROR
from autotask.workflows import step
from tests.gates import gate
from tests.helpers import ended, environment, wait_until
from tests.integration.shelf.models import Author
from tests.integration.workflows import tasks
from tests.integration.workflows.tasks import ran


def runs(handle):
    return {name: number for (id, name), number in ran.items() if id == str(handle.id)}


def test_steps_that_have_ended_are_not_run_again(worker):
    handle = tasks.order(fail=["ship", "mail"])

    assert handle.wait(20) == ("mail", {"paid": 7}, "ship")
    assert runs(handle) == {"charge": 1, "ship": 2, "mail": 2}
    names = Step.objects.filter(task_id=handle.id).order_by("ended_at").values_list("number", "name")
    assert list(names) == [(0, "charge"), (0, "ship"), (0, "mail")]


def test_steps_of_coroutines(worker):
    handle = tasks.aorder(fail=["mail"])

    assert handle.wait(20) == ("mail", "charge")
    assert runs(handle) == {"charge": 1, "mail": 2}


def test_steps_in_a_child_process(start_worker, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", environment()["DATABASE_URL"])
    start_worker()
    assert tasks.elsewhere().wait(40) == 1


def test_a_retry_continues_or_begins_again(worker):
    handle = tasks.order.using(retries=0)(fail=["ship"])
    assert ended(handle) == ERROR
    handle.retry()
    assert ended(handle) == DONE
    assert runs(handle) == {"charge": 1, "ship": 2, "mail": 1}

    other = tasks.order.using(retries=0)(fail=["ship"])
    assert ended(other) == ERROR
    other.retry(from_start=True)
    assert ended(other) == DONE
    assert runs(other) == {"charge": 2, "ship": 2, "mail": 1}


def test_a_name_can_be_used_once_in_an_attempt(worker):
    handle = tasks.twice()

    assert ended(handle) == ERROR
    assert "already had a step 'a'" in handle.error_message


def test_a_value_that_cannot_be_kept_is_an_error(worker):
    handle = tasks.odd()

    assert ended(handle) == ERROR
    assert "The result of tests.integration.workflows.tasks.odd, step :odd cannot be pickled" in handle.error_message


def test_a_step_is_kept_in_the_transaction_of_its_effect(worker):
    with connection.schema_editor() as editor:
        editor.create_model(Author)
    try:
        handle = tasks.in_transaction()
        assert handle.wait(20) == 1
        assert runs(handle) == {"write": 2}
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Author)


def test_steps_run_again_with_a_transaction_that_conflicted(worker):
    handle = tasks.in_conflict()

    assert handle.wait(20) == 1
    assert runs(handle) == {"write": 2, "after": 1}
    assert set(Step.objects.filter(task_id=handle.id).values_list("name", flat=True)) == {"write", "after"}


def test_nothing_is_kept_once_the_claim_is_over(worker):
    handle = tasks.slow()
    assert gate("slow step reached").wait(20)
    execute(current(), "DELETE FROM autotask_claim WHERE %(id)s = ANY(ids)", {"id": handle.id})
    gate("slow step").set()

    wait_until(lambda: not worker.held, what="the end of the attempt")
    assert Step.objects.filter(task_id=handle.id).count() == 0
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": handle.id})


def test_outside_of_tasks_a_step_is_a_call():
    assert step("a", len, "abc") == 3
    ran.clear()
    assert tasks.twice.call() is None
    assert ran["", "a"] == 2
    with pytest.raises(InvalidOption):
        step("not a name!", len, "abc")
    with pytest.raises(InvalidOptionType, match=r"'function' of step\(\) must be a function.* but is 5"):
        step("a", 5)


def test_values_are_signed_again_with_the_present_key(worker, settings, capsys):
    handle = tasks.order.using(retries=0)(fail=["ship"])
    assert ended(handle) == ERROR
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one, which is long and random enough"

    call_command("autotask", "resign")
    assert "1 values of steps" in capsys.readouterr().out
    settings.SECRET_KEY_FALLBACKS = []
    handle.retry()
    assert ended(handle) == DONE
    assert runs(handle)["charge"] == 1
