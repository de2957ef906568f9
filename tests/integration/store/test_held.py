"""Autotask with a database of its own: calls wait for the commit of the caller's transaction on the default database."""

import pytest
from django.db import connection, connections, transaction

from autotask.exceptions import NotRetryable, TaskExpired, WaitInTransaction
from autotask.task import CANCELLED, WAITING
from tests.integration.store.shapes import count
from tests.integration.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_database(settings, monkeypatch, transactional_db):
    """Have autotask reach its tables by another connection than the default one."""
    other = connection.copy("jobs")
    other.ensure_connection()  # Now, while Django does not know its name: it lets tests connect to what they declare only.
    monkeypatch.setitem(connections.settings, "jobs", other.settings_dict)
    connections["jobs"] = other
    settings.AUTOTASK_DATABASE = "jobs"
    yield
    other.close()
    del connections["jobs"]


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
