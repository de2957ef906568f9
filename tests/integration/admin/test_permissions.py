"""Who sees which page, and who may press which button."""

import pytest
from django.utils import timezone

from autotask.models import Result, Schedule
from autotask.task import State
from tests.integration.admin.pages import SCHEDULES, TASKS, WORKERS, ended, page, page_of, registered
from tests.integration.admin.tasks import add


@pytest.mark.parametrize("address", [TASKS, WORKERS, SCHEDULES])
def test_nobody_sees_a_page_without_permission(staff, address):
    assert staff().get(address).status_code == 403


@pytest.mark.parametrize("model", ["taskrecord", "worker", "schedule"])
def test_not_even_a_superuser_adds_changes_or_deletes(admin, model):
    # Given
    now = timezone.now()
    schedule = Schedule.objects.create(name="n", task="n", spec="s", registered_at=now, next_tick=now, declared_at=now)
    key = {"taskrecord": ended().id, "worker": registered().id, "schedule": schedule.pk}[model]
    base = f"/admin/autotask/{model}/"

    # Then
    assert admin.get(f"{base}add/").status_code == 403
    assert admin.post(f"{base}{key}/change/", {"name": "x"}).status_code == 403
    assert admin.get(f"{base}{key}/delete/").status_code == 403
    assert "delete_selected" not in page(admin, base)


def test_without_their_permissions_there_are_no_buttons(staff):
    # Given
    failed, waiting = ended(State.ERROR, payload=b"x"), add(1, 2)
    client = staff("view_taskrecord")

    # Then
    html = page(client, TASKS)
    assert 'name="action"' not in html
    assert "Retry" not in page(client, page_of(failed))
    assert "Cancel" not in page(client, page_of(waiting))

    # And who makes up the requests is refused
    assert client.post(f"{TASKS}{failed.id}/retry/").status_code == 403
    assert client.post(f"{TASKS}{waiting.id}/cancel/").status_code == 403
    client.post(TASKS, {"action": "retry", "index": "0", "_selected_action": [str(failed.id)]})
    assert Result.objects.filter(id=failed.id).exists()
    assert not waiting.ready


def test_each_permission_brings_its_own_button(staff):
    # Given
    failed, waiting = ended(State.ERROR, payload=b"x"), add(1, 2)
    retrier, canceller = staff("view_taskrecord", "retry_task"), staff("view_taskrecord", "cancel_task")

    # Then
    assert 'value="retry"' in page(retrier, TASKS)
    assert 'value="cancel"' not in page(retrier, TASKS)
    assert 'value="cancel"' in page(canceller, TASKS)
    assert 'value="retry"' not in page(canceller, TASKS)
    assert "Retry this task" in page(retrier, page_of(failed))
    assert "Cancel this task" in page(canceller, page_of(waiting))
    assert retrier.post(f"{TASKS}{waiting.id}/cancel/").status_code == 403
    assert canceller.post(f"{TASKS}{failed.id}/retry/").status_code == 403


@pytest.mark.parametrize("button", ["retry", "cancel"])
def test_a_button_needs_its_form(staff, button):
    # Given
    waiting = add(1, 2)
    client = staff("view_taskrecord", "retry_task", "cancel_task", enforce_csrf_checks=True)

    # Then
    asked = client.get(f"{TASKS}{waiting.id}/{button}/")  # as after the login of a user whose session was over
    assert (asked.status_code, asked["Location"]) == (302, page_of(waiting))
    assert "Nothing was done. Press the button again." in page(client, asked["Location"])
    assert client.post(f"{TASKS}{waiting.id}/{button}/").status_code == 403
    assert not waiting.ready
