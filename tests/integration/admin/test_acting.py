"""Retry and cancel: the buttons on the page of a task, and the actions on the list."""

import uuid
from itertools import product
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry

from autotask.admin import tasks
from autotask.models import Result, Task
from autotask.task import CANCELLED, ERROR, State, new_id
from tests.helpers import wait_until
from tests.integration.admin.pages import SCHEDULES, TASKS, WORKERS, act, ended, page, page_of
from tests.integration.admin.tasks import add, broken, fail, fail_while_broken
from tests.integration.store.shapes import edit


def test_the_button_retries_a_task(admin, worker):
    # Given
    broken.set()
    handle = fail_while_broken(42)
    wait_until(lambda: handle.status == ERROR)
    broken.clear()

    # When
    response = admin.post(f"{TASKS}{handle.id}/retry/")

    # Then
    assert response["Location"] == page_of(handle)
    handle.refresh()
    assert handle.wait(10) == 42
    [entry] = LogEntry.objects.all()
    assert (entry.object_id, entry.change_message, entry.user.username) == (str(handle.id), "Retried.", "root")
    assert "1 task will run again." in page(admin, page_of(handle))


def test_the_button_cancels_a_task_that_waits(admin):
    # Given
    handle = add(1, 2)

    # When
    admin.post(f"{TASKS}{handle.id}/cancel/")

    # Then
    assert handle.status == CANCELLED
    assert LogEntry.objects.get().change_message == "Cancelled."
    assert "1 task was cancelled." in page(admin, page_of(handle))


def test_a_button_pressed_too_late_says_so(admin):
    # Given
    result = ended(State.DONE)

    # When
    admin.post(f"{TASKS}{result.id}/cancel/")

    # Then
    assert "1 task was not cancelled: done (1)." in page(admin, TASKS)
    assert not LogEntry.objects.exists()

    # When
    response = admin.post(f"{TASKS}{new_id()}/retry/")

    # Then
    assert response["Location"] == TASKS
    assert "no longer in the database" in page(admin, TASKS)


def test_the_action_retries_what_it_can_and_tells_about_the_rest(admin, worker):
    # Given
    broken.set()
    handles = fail_while_broken.enqueue_many([(n,) for n in range(3)])
    wait_until(lambda: all(handle.ready for handle in handles))
    done = add(1, 2)
    done.wait(10)
    broken.clear()

    # When
    told = act(admin, "retry", *(handle.id for handle in handles), done.id, new_id())

    # Then
    assert told[0] == "3 tasks will run again."
    assert told[1].startswith("2 tasks were not retried: ")
    assert "done (1)" in told[1]
    assert "no longer in the database (1)" in told[1]
    for handle in handles:
        handle.refresh()
    assert [handle.wait(10) for handle in handles] == [0, 1, 2]
    assert LogEntry.objects.count() == 3


def test_the_action_cancels_what_waits_and_asks_what_runs(admin, running):
    # Given
    waiting = add.using(delay=3600)(1, 2)
    done, cancelled = ended(State.DONE), ended(State.CANCELLED)

    # When
    told = act(admin, "cancel", running.id, waiting.id, done.id, cancelled.id)

    # Then
    assert told == [
        "1 task was cancelled.",
        "1 running task was asked to stop.",
        "2 tasks were not cancelled: done (1), already cancelled (1).",
    ]
    assert waiting.status == CANCELLED
    assert LogEntry.objects.count() == 2
    assert Task.objects.get(id=running.id).cancel_requested
    html = page(admin, page_of(running))
    assert "asked to stop" in html
    assert "Cancel this task" not in html


def test_a_task_that_changed_since_the_page_was_made_is_still_meant(admin):
    # Given: the page shows waiting tasks, and this one has become a scheduled one
    handle = add(1, 2)
    edit("UPDATE autotask_task SET state = 0, ready_at = NULL")

    # When
    told = act(admin, "cancel", handle.id, query="?state=waiting")

    # Then
    assert told == ["1 task was cancelled."]


@pytest.fixture
def shown_elsewhere(monkeypatch):
    """An admin of the project that shows the tasks of one queue only."""
    everything = tasks.TaskAdmin.get_queryset
    monkeypatch.setattr(
        tasks.TaskAdmin, "get_queryset", lambda self, request: everything(self, request).filter(queue="elsewhere")
    )


@pytest.mark.parametrize(
    ("across", "query"), [({}, ""), ({}, "?queue=default"), ({"select_across": "1"}, "?state=waiting")]
)
def test_an_action_is_for_what_the_admin_shows_only(admin, shown_elsewhere, across, query):
    # Given
    hidden, shown = add(1, 2), fail("x")
    failed = ended(State.ERROR, payload=b"x")

    # When
    told = act(admin, "cancel", hidden.id, shown.id, query=query, **across) + act(admin, "retry", failed.id, **across)

    # Then
    assert Task.objects.filter(id=hidden.id).exists()
    assert Result.objects.filter(id=failed.id).exists()
    assert set(LogEntry.objects.values_list("object_id", flat=True)) == {str(shown.id)}
    assert "hidden" not in str(told) and "default" not in str(told) and "error" not in str(told)


def test_a_button_is_for_what_the_admin_shows_only(admin, shown_elsewhere):
    # Given
    hidden, failed = add(1, 2), ended(State.ERROR, payload=b"x")

    # When
    responses = [admin.post(f"{TASKS}{hidden.id}/cancel/"), admin.post(f"{TASKS}{failed.id}/retry/")]

    # Then
    assert [response["Location"] for response in responses] == [TASKS, TASKS]
    assert Task.objects.filter(id=hidden.id).exists() and Result.objects.filter(id=failed.id).exists()


def test_a_button_asks_whether_this_task_may_be_seen(admin, monkeypatch):
    # Given an admin of the project with permissions for each object, as Django's own pages ask for them
    hidden, shown = add(1, 2), fail("x")
    may_see = lambda self, request, obj=None: obj is None or obj.queue == "elsewhere"  # noqa: E731 - a method
    monkeypatch.setattr(tasks.TaskAdmin, "has_view_permission", may_see)

    # When, then
    assert admin.get(page_of(hidden)).status_code == 403
    assert admin.post(f"{TASKS}{hidden.id}/cancel/").status_code == 403
    assert admin.post(f"{TASKS}{shown.id}/cancel/").status_code == 302
    assert hidden.status != CANCELLED and shown.status == CANCELLED


MALFORMED = ["1", "x", "-1", "\0", "1" * 5000, "../..", "None", f"{uuid.UUID(int=0)}0", "'", "%s", "é", "_00"]


def test_an_action_for_what_cannot_be_an_id_is_not_found(admin):
    waiting = add(1, 2)
    for action, key in product(("retry", "cancel"), MALFORMED):
        data = {"action": action, "index": "0", "_selected_action": [str(waiting.id), key]}
        assert admin.post(TASKS, data).status_code == 404, key
    assert not waiting.ready


@pytest.mark.parametrize("key", ["x", "\0", "1" * 5000], ids=lambda key: ascii(key[:8]))
def test_a_page_or_button_of_what_cannot_be_an_id_leads_back(admin, key):
    pages = [f"{place}{quote(key)}/{word}/" for place in (TASKS, WORKERS, SCHEDULES) for word in ("change", "history")]
    buttons = [f"{TASKS}{quote(key)}/{word}/" for word in ("retry", "cancel")]
    assert {admin.get(address).status_code for address in pages} == {302}
    assert {admin.post(address).status_code for address in buttons} == {302}


def test_no_address_of_a_list_is_an_error_of_the_server(admin):
    # Given
    add(1, 2)
    queries = [
        *({name: "\0"} for name in ("q", "queue", "task", "state", "p", "o", "all", "e")),
        *({name: "9" * 5000} for name in ("q", "queue", "task", "state", "p", "o")),
        *({"p": "-1"}, {"p": "1e9"}, {"p": "٣"}, {"o": "1.2.-3"}, {"q": f"{uuid.UUID(int=0)}0"}),
        *({"q": "\0", "state": "done"}, {"queue": ["x", "\0"]}, {"id__in": "x,\0"}, {"_to_field": "name"}),
    ]

    # Then
    for place, query in [*product([TASKS], queries), *product([WORKERS, SCHEDULES], [{"q": "\0"}, {"p": "9" * 5000}])]:
        assert admin.get(place, query).status_code in (200, 302, 400), (place, query)


def test_all_that_match_are_acted_on_up_to_a_limit(admin, monkeypatch):
    # Given
    monkeypatch.setattr(tasks, "MOST_AT_ONCE", 3)
    for _ in range(5):
        ended(State.ERROR, payload=b"x", name="mine")
    done, other = ended(State.DONE, name="mine"), ended(State.ERROR, payload=b"x", name="other")
    across = {"select_across": "1"}

    # When
    told = act(admin, "retry", done.id, query="?q=mine", **across)

    # Then
    assert told == ["3 tasks will run again.", "There are more than 3: repeat the action for the others."]
    assert act(admin, "retry", done.id, query="?q=mine", **across) == ["2 tasks will run again."]
    assert act(admin, "retry", done.id, query="?q=mine", **across) == ["No task here is in a state for that."]
    assert set(Result.objects.values_list("id", flat=True)) == {done.id, other.id}
