"""Calls wait for the commits of their callers' transactions on other databases than that of autotask."""

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction

from autotask.exceptions import NotRetryable, TaskExpired, WaitInTransaction
from autotask.models import Task
from autotask.task import CANCELLED, WAITING
from tests.documents import ROOT, blocks
from tests.integration.store.shapes import count
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_database(settings, monkeypatch, transactional_db):
    """Have autotask reach its tables by another connection than the default one, and a third one for the site."""
    for alias in ("jobs", "shop"):
        other = connection.copy(alias)
        other.ensure_connection()  # Now, while Django does not know its name: it lets tests connect to what they declare only.
        monkeypatch.setitem(connections.settings, alias, other.settings_dict)
        connections[alias] = other
    settings.AUTOTASK_DATABASE = "jobs"
    yield
    for alias in ("jobs", "shop"):
        connections[alias].close()
        del connections[alias]


class Changed(Exception):
    """Somebody changed his mind."""


def test_a_call_is_stored_when_the_callers_transaction_commits():
    with transaction.atomic():
        handle = tasks.echo(1)
        assert count("autotask_task") == 0
        assert (handle.status, handle.ready, handle.attempts, handle.error_message) == (WAITING, False, 0, "")
        with pytest.raises(NotRetryable, match="it is waiting"):
            handle.retry()
        with pytest.raises(WaitInTransaction):
            handle.wait(5)
    assert count("autotask_task") == 1
    assert handle.status is WAITING


def test_a_call_of_a_transaction_that_is_rolled_back_is_not_stored():
    with pytest.raises(Changed), transaction.atomic():
        handle = tasks.echo(1)
        raise Changed
    assert count("autotask_task") == 0
    with pytest.raises(TaskExpired):
        _ = handle.status


def test_a_call_that_is_cancelled_before_the_commit_is_not_stored():
    # When
    with transaction.atomic():
        handle = tasks.echo(1)
        assert handle.cancel() is True
        assert (handle.status, handle.ready, handle.result) == (CANCELLED, True, None)
        assert handle.cancel() is False

    # Then
    assert count("autotask_task") == count("autotask_result") == 0
    with pytest.raises(TaskExpired, match="cancelled before"):
        _ = handle.status


def test_of_many_calls_one_can_be_cancelled():
    with transaction.atomic():
        first, second, third = tasks.echo.enqueue_many([(1,), (2,), (3,)])
        assert second.cancel()
    assert count("autotask_task") == 2
    assert (first.status, third.status) == (WAITING, WAITING)
    with transaction.atomic():
        handles = tasks.echo.enqueue_many([(1,), (2,)])
        assert [handle.cancel() for handle in handles] == [True, True]
    assert count("autotask_task") == 2


def test_what_was_cancelled_in_a_savepoint_that_is_rolled_back_is_stored():
    with transaction.atomic():
        handle = tasks.echo(1)
        with pytest.raises(Changed), transaction.atomic():
            assert handle.cancel()
            raise Changed
        assert handle.status is WAITING
    assert handle.status is WAITING and count("autotask_task") == 1


def test_what_was_called_in_a_savepoint_that_is_rolled_back_is_not_there():
    with transaction.atomic():
        with pytest.raises(Changed), transaction.atomic():
            handle = tasks.echo(1)
            raise Changed
        assert handle.cancel() is False
    assert count("autotask_task") == 0


def test_what_was_called_and_cancelled_in_a_savepoint_is_not_stored():
    with transaction.atomic():
        with transaction.atomic():
            handle = tasks.echo(1)
            assert handle.cancel()
        kept = tasks.echo(2)
    assert count("autotask_task") == 1
    assert kept.status is WAITING


def test_outside_of_a_transaction_calls_are_stored_and_cancelled_as_ever():
    handle = tasks.echo(1)
    assert handle.status is WAITING and count("autotask_task") == 1
    assert handle.cancel() and handle.status is CANCELLED


# --- several databases ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tables", ["jobs", "default"])
def test_a_call_waits_for_the_commit_of_any_other_database(settings, tables):
    settings.AUTOTASK_DATABASE = tables
    with transaction.atomic(using="shop"):
        handle = tasks.echo(1)
        assert count("autotask_task") == 0 and handle.status is WAITING
    assert count("autotask_task") == 1 and handle.status is WAITING


@pytest.mark.parametrize("tables", ["jobs", "default"])
def test_a_call_is_dropped_when_any_other_database_rolls_back(settings, tables):
    settings.AUTOTASK_DATABASE = tables
    with pytest.raises(Changed), transaction.atomic(using="shop"):
        handle = tasks.echo(1)
        raise Changed
    assert count("autotask_task") == 0
    with pytest.raises(TaskExpired):
        handle.refresh()


@pytest.mark.parametrize(("outer", "inner"), [("default", "shop"), ("shop", "default")])
def test_a_call_waits_for_the_last_of_several_commits(outer, inner):
    with transaction.atomic(using=outer):
        with transaction.atomic(using=inner):
            handle = tasks.echo(1)
        assert count("autotask_task") == 0 and handle.status is WAITING
    assert count("autotask_task") == 1


@pytest.mark.parametrize(("outer", "inner"), [("default", "shop"), ("shop", "default")])
def test_a_call_is_dropped_when_one_of_several_rolls_back(outer, inner):
    with transaction.atomic(using=outer):
        with pytest.raises(Changed), transaction.atomic(using=inner):
            handle = tasks.echo(1)
            raise Changed
        assert handle.cancel() is False
        with pytest.raises(TaskExpired):
            handle.refresh()
    assert count("autotask_task") == 0


def test_a_call_that_waits_for_several_can_be_cancelled():
    with transaction.atomic(using="shop"), transaction.atomic():
        handle, kept = tasks.echo(1), tasks.echo(2)
        assert handle.cancel() and handle.status is CANCELLED
    assert kept.status is WAITING and count("autotask_task") == 1


def test_a_transaction_on_the_database_of_autotask_counts_alone():
    with transaction.atomic(using="shop"), transaction.atomic(using="jobs"):
        tasks.echo(1)
        with connections["jobs"].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM autotask_live")
            assert cursor.fetchone() == (1,)


# --- the pages on it --------------------------------------------------------------------------------------------------


def test_the_router_of_the_page_keeps_the_tables_apart():
    [source] = [
        block.text for block in blocks(ROOT / "docs" / "howto" / "deploy.rst") if "class TasksRouter" in block.text
    ]
    names = {}
    exec(source, names)
    router = names["TasksRouter"]()
    assert router.db_for_read(Task) == router.db_for_write(Task) == "tasks"
    assert router.db_for_read(Group) is router.db_for_write(Group) is None
    places = [(db, app) for app in ("autotask", "auth") for db in ("default", "tasks", "shop")]
    assert [router.allow_migrate(*place) for place in places] == [False, True, False, None, False, None]


@pytest.mark.parametrize("page", ["explanation/guarantees", "howto/transactions", "howto/django_tasks"])
def test_the_pages_lead_to_the_one_that_tells_what_these_tests_show(page):
    assert ":ref:`several-databases`" in (ROOT / "docs" / f"{page}.rst").read_text(encoding="utf-8")
