"""``autotask why`` says why a task does not run."""

import uuid

import pytest
from django.db import ProgrammingError, connection, transaction

from autotask.exceptions import WaitInTransaction, WaitTimeout
from autotask.handle import TaskHandle
from autotask.store.connection import execute
from autotask.why import Code
from tests.integration.admin.pages import registered
from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add
from tests.integration.held import pause

pytestmark = pytest.mark.django_db(transaction=True)


def test_why_prints_the_code_the_sentence_the_advice_and_the_checks():
    # Given
    handle = add(1, 2)

    # When
    lines = manage("why", handle.id).out.splitlines()

    # Then
    assert lines[:2] == [
        "no_worker: No worker is alive.",
        "Start the site, or a worker: python manage.py autotask worker",
    ]
    assert lines[2] == "" and [line.strip()[0] for line in lines[3:]] == ["✓", "✓", "✓", "✗"]
    assert manage("why", str(handle.id)[:13]).out.startswith("no_worker: ")


def test_why_prints_json():
    document = manage("why", add(1, 2).id, "--json").json
    assert list(document) == ["id", "code", "sentence", "advice", "until", "place", "expected_wait", "checks"]
    assert document["code"] == "no_worker"
    assert document["checks"][-1] == {"code": "no_worker", "passed": False, "text": "no worker is alive"}


def test_a_handle_says_the_same():
    pause("queue", "default")
    assert add(1, 2).why().code == Code.PAUSED


def test_why_explains_an_id_without_a_task_and_a_database_without_tables():
    assert manage("why", uuid.uuid4()).out.startswith("rolled_back_or_pruned: ")
    with transaction.atomic():
        execute(connection, "SET LOCAL search_path TO pg_catalog")
        assert manage("why", uuid.uuid4()).out.splitlines()[1] == "python manage.py migrate autotask"


def test_a_call_that_is_not_committed_is_explained():
    with transaction.atomic():
        assert add(1, 2).why().code == Code.UNCOMMITTED


def test_a_handle_of_nothing_is_explained():
    assert TaskHandle(uuid.uuid4()).why().code == Code.ROLLED_BACK_OR_PRUNED


def test_a_call_without_tables_names_migrate_in_djangos_own_error():
    with transaction.atomic():
        execute(connection, "SET LOCAL search_path TO pg_catalog")
        with pytest.raises(ProgrammingError, match=r"does not exist(.|\n)*Run: python manage\.py migrate autotask$"):
            add(1, 2)
        transaction.set_rollback(True)


def test_a_wait_in_vain_says_why_and_what_to_do_in_a_test():
    with pytest.raises(WaitTimeout) as caught:
        add(1, 2).wait(0.1)
    assert str(caught.value).partition("it is waiting. ")[2] == (
        "No worker is alive. Start the site, or a worker: python manage.py autotask worker In a TestCase no worker sees the "
        "task: run it with run_pending(), or its call with immediate(), both from autotask.testing."
    )


def test_a_wait_in_a_test_case_names_what_to_use_there():
    with (
        transaction.atomic(),
        pytest.raises(WaitInTransaction, match=r"run_pending\(\), or its call with immediate\(\)"),
    ):
        add(1, 2).wait(1)


def test_a_wait_outside_of_tests_says_nothing_of_them(monkeypatch):
    monkeypatch.delattr("django.core.mail.outbox")
    with pytest.raises(WaitTimeout, match="autotask worker$"):
        add(1, 2).wait(0.1)


def test_status_names_the_queues_that_nobody_serves():
    registered(queues="reports")
    add.using(queue="mail")(1, 2)
    text = "Tasks wait in queues that no running worker serves: mail. Start one: python manage.py autotask worker --queues mail"
    assert text in manage("status").out
