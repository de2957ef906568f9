"""A running task that somebody cancels: what its reason and its history say."""

from django.contrib.admin.models import LogEntry

from autotask import why
from autotask.acts import tasks as acts
from autotask.store import read
from autotask.store.connection import current
from autotask.task import CANCELLED, DONE, RUNNING
from autotask.why import Code
from tests.helpers import ended, wait_until
from tests.integration.admin.conftest import admin  # noqa: F401 - a fixture
from tests.integration.admin.pages import page, page_of
from tests.integration.worker import inside, stubborn


def running(handle):
    wait_until(lambda: handle.refresh() or handle.status is RUNNING)
    return handle


def test_the_reason_names_who_cancelled_it(worker, path):
    handle = running(stubborn.spin(str(path)))
    acts.cancel([handle.id], by="ann@example.org")
    assert ended(handle) == CANCELLED
    assert handle.error_message == "cancelled by ann@example.org while it ran"
    assert read.task(current(), handle.id).public_error == "cancelled while it ran"
    assert "ann" not in why.explain(current(), handle.id, public=True).sentence


def test_a_task_that_returned_anyway_is_done_after_it_was_asked_to_stop(worker, path, admin):  # noqa: F811
    # Given
    handle = running(inside.stop_when_told(str(path)))

    # When
    acts.cancel([handle.id], by="ann")
    assert ended(handle) == DONE

    # Then
    assert read.task(current(), handle.id).was_asked_to_stop
    assert handle.why().code == Code.DONE and ", after it was asked to stop" in handle.why().sentence
    assert "after it was asked to stop" in page(admin, page_of(handle))


def test_the_history_says_that_it_was_asked(worker, path, admin):  # noqa: F811
    handle = running(inside.stop_when_told(str(path)))
    admin.post(page_of(handle).replace("/change/", "/cancel/"))
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Asked to stop."]
    assert ended(handle) == DONE
