"""The admin page of a model whose rows are tasks: its list, and acts with their permissions."""

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client

from autotask.admin import model_tasks
from autotask.task import CANCELLED
from demo.models import Inspection
from tests.gates import gate
from tests.helpers import wait_until
from tests.integration.store.shapes import edit, let_run

LIST = "/admin/demo/inspection/"


@pytest.fixture
def client_of(transactional_db):
    """Make clients of staff with some permissions."""

    def make(*codenames):
        user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def root(transactional_db):
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def act(client, action, *rows):
    data = {"action": action, "index": "0", "_selected_action": [str(row.pk) for row in rows]}
    response = client.post(LIST, data)
    if response.status_code != 302:
        return []
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def test_a_user_who_may_not_see_tasks_gets_their_ids_without_links(client_of):
    # Given
    task_id = Inspection.objects.create(machine="lathe").task_id
    address = f"/admin/autotask/taskrecord/{task_id}/change/"

    # Then
    html = client_of("view_inspection").get(LIST).content.decode()
    assert task_id.hex[-8:] in html and address not in html
    assert address in client_of("view_inspection", "view_taskrecord").get(LIST).content.decode()


def test_the_list_shows_states_and_links_to_tasks(root):
    waiting = Inspection.objects.create(machine="lathe")
    failed = Inspection.objects.create(machine="drill")
    failed.handle.cancel()
    html = root.get(LIST).content.decode()

    assert f"/admin/autotask/taskrecord/{waiting.task_id}/change/" in html
    assert "autotask-ready" in html and "autotask-error" in html
    assert "1 of 2" in html
    found = root.get(LIST, {"task_status": "30"}).context["cl"].result_list
    assert [row.pk for row in found] == [failed.pk]
    page = root.get(f"{LIST}{failed.pk}/change/").content.decode()
    assert "drill" in page


def test_the_list_shows_the_sizes_of_channels_and_filters_by_them(root):
    first, second, running, done = Inspection.objects.bulk_create([Inspection(machine="lathe") for _ in range(4)])
    edit("UPDATE autotask_task SET queue = 'west' WHERE id = %s", (second.task_id,))
    let_run(running.task_id)
    done.handle.cancel()
    html = root.get(LIST).content.decode()

    assert "default: 1 waiting, 1 running" in html
    assert "west: 1 waiting, 0 running" in html
    found = root.get(LIST, {"task_channel": "west"}).context["cl"].result_list
    assert [row.pk for row in found] == [second.pk]
    found = root.get(LIST, {"task_channel": "default"}).context["cl"].result_list
    assert {row.pk for row in found} == {first.pk, running.pk}


def test_channels_with_very_many_tasks_are_counted_only_so_far(root, monkeypatch):
    monkeypatch.setattr(model_tasks, "MOST_COUNTED", 3)
    Inspection.objects.bulk_create([Inspection(machine="lathe") for _ in range(4)])
    assert "default: 3 or more" in root.get(LIST).content.decode()


def test_rows_are_started_again_run_now_and_marked(root):
    rows = [Inspection.objects.create(machine="lathe") for _ in range(2)]
    first = rows[0].task_id
    rows[1].handle.cancel()

    assert act(root, "start_again", *rows) == ["Started again from step 1. (2)"]
    for row in rows:
        row.refresh_from_db()
        assert row.done_time is None
        assert row.handle.status == "waiting"
    assert rows[0].task_id != first
    assert act(root, "run_now", rows[0]) == ["Run now. (1)"]
    assert act(root, "mark_done", rows[0]) == ["Marked as done. (1)"]
    assert rows[0].handle.status == CANCELLED
    assert act(root, "run_now", rows[0]) == ["Left as it is: its task does not wait (1)."]


def test_selected_rows_run_again_from_step_1(root, worker, monkeypatch):
    begun = []
    monkeypatch.setattr(Inspection, "do_task_main_step1", lambda self, payload: begun.append(self.pk))
    rows = [Inspection.objects.create(machine="lathe") for _ in range(3)]
    wait_until(lambda: Inspection.objects.filter(success=True).count() == 3, what="the end of the rows")

    assert act(root, "start_again", *rows) == ["Started again from step 1. (3)"]
    wait_until(lambda: Inspection.objects.filter(success=True).count() == 3, what="the end of the rows again")
    assert sorted(begun) == sorted([row.pk for row in rows] * 2)


def test_a_running_row_is_left_as_it_is(root, worker, monkeypatch):
    monkeypatch.setattr(Inspection, "do_task_main_step1", lambda self, payload: gate("inspect").wait(20) and {})
    row = Inspection.objects.create(machine="lathe")
    wait_until(lambda: row.handle.status == "running")

    assert act(root, "start_again", row) == ["Left as it is: its task runs (1)."]
    gate("inspect").set()


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        (["view_inspection", "change_inspection"], set()),
        (["view_inspection", "retry_task", "cancel_task"], set()),
        (["view_inspection", "change_inspection", "retry_task"], {"start_again", "run_now"}),
        (["view_inspection", "change_inspection", "cancel_task"], {"mark_done"}),
    ],
)
def test_each_act_needs_its_permission(client_of, permissions, allowed):
    client = client_of(*permissions)
    row = Inspection.objects.create(machine="lathe")
    page = client.get(LIST)
    form = page.context.get("action_form")

    assert page.status_code == 200
    offered = {name for name, _ in form.fields["action"].choices if name} if form else set()
    assert offered - {"delete_selected"} == allowed
    for action in {"start_again", "run_now", "mark_done"} - allowed:
        act(client, action, row)
    row.refresh_from_db()
    assert row.done_time is None


def test_a_request_in_one_transaction_stores_row_and_task(worker, monkeypatch, client):
    monkeypatch.setitem(connections["default"].settings_dict, "ATOMIC_REQUESTS", True)
    answers = [client.post("/enqueue/inspect_machine/", {}, "application/json").json() for _ in range(3)]

    assert [answer["status"] for answer in answers] == ["waiting"] * 3
    rows = Inspection.objects.order_by("pk")
    assert [str(row.task_id) for row in rows] == [answer["id"] for answer in answers]
    wait_until(lambda: Inspection.objects.filter(success=True).count() == 3, what="the end of the rows")
