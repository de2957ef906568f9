"""The pages of pauses, and the buttons on the page of a task that pause and resume."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.models import LogEntry

from autotask import acts
from autotask.models import Pause
from autotask.store.connection import current, execute
from tests.integration.admin.pages import TASKS, page, page_of
from tests.integration.admin.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)

PAUSES = "/admin/autotask/pause/"


def paused():
    return [(pause.kind, pause.name, pause.paused_by, pause.reason) for pause in acts.pauses()]


def messages(client, response):
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def log():
    return [(entry.content_type.model, entry.get_change_message()) for entry in LogEntry.objects.order_by("id")]


def fill_in(kind, name="", reason="", date="", time=""):
    return {"kind": kind, "name": name, "reason": reason, "until_0": date, "until_1": time}


# --- the list -------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_is_paused_by_whom_why_and_until_when(admin):
    # Given
    acts.pause(queue="mail", until=timedelta(hours=2), reason="<the> provider is down", by="ada")
    acts.pause(everything=True)
    acts.pause(limit="over", until=timedelta(hours=2))
    execute(current(), "UPDATE autotask_pause SET until = clock_timestamp() WHERE name = 'over'")

    # Then
    html = page(admin, PAUSES)
    for words in ("queue mail", "everything", "ada", "&lt;the&gt; provider is down", "in 2 h", "it is resumed"):
        assert words in html
    assert "over" not in [pause.name for pause in admin.get(PAUSES).context["cl"].result_list]
    assert "<the>" not in page(admin, f"{PAUSES}{Pause.objects.get(name='mail').pk}/change/")


def test_something_is_paused_with_a_form(admin):
    # When
    until = datetime.now(UTC) + timedelta(days=1)
    data = fill_in("queue", "mail", "a reason", f"{until:%Y-%m-%d}", f"{until:%H:%M:%S}")
    response = admin.post(f"{PAUSES}add/", data)

    # Then
    assert response.status_code == 302, response.context["adminform"].form.errors
    assert paused() == [("queue", "mail", "root", "a reason")]
    (pause,) = acts.pauses()
    assert abs(pause.until - until) < timedelta(hours=15)  # in the time zone of the project
    assert log() == [("pause", "Added.")]

    # When it is paused again
    assert admin.post(f"{PAUSES}add/", fill_in("queue", "mail", "another")).status_code == 302

    # Then
    assert paused() == [("queue", "mail", "root", "another")]
    assert acts.pauses()[0].until is None


def test_a_name_that_the_code_does_not_have_is_paused_and_doubted(admin, settings):
    said = messages(admin, admin.post(f"{PAUSES}add/", fill_in("task", add.name)))
    assert len(said) == 1
    said = messages(admin, admin.post(f"{PAUSES}add/", fill_in("task", f"{add.name}x")))
    assert f"No task in the code of this process has the name {add.name}x. Did you mean {add.name}" in said[0]
    settings.AUTOTASK_LIMITS = {"openai": 2}
    said = messages(admin, admin.post(f"{PAUSES}add/", fill_in("limit", "opnai(tenant_id=7)")))
    words = "No limit or rate in the code and settings of this process has the name opnai. Did you mean openai?"
    assert words in said
    assert [(kind, name) for kind, name, *_ in paused()] == [
        ("limit", "opnai(tenant_id=7)"),
        ("task", add.name),
        ("task", f"{add.name}x"),
    ]


@pytest.mark.parametrize(
    ("data", "field", "words"),
    [
        (fill_in("queue", "a b"), "name", "is not the name of a queue"),
        (fill_in("task", ""), "name", "is not the name of a task"),
        (fill_in("limit", ""), "name", "is not the name of a limit"),
        (fill_in("everything", "x"), "name", "everything has no name"),
        (fill_in("queue", "a", "", "2001-01-01", "00:00:00"), "until", "is over already"),
        (fill_in("other", "a"), "kind", "not one of the available choices"),
    ],
    ids=str,
)
def test_mistakes_in_the_form_are_shown(admin, data, field, words):
    response = admin.post(f"{PAUSES}add/", data)
    assert response.status_code == 200
    assert words in str(response.context["adminform"].form.errors[field])
    assert acts.pauses() == []


def test_pauses_are_resumed_in_the_list_and_on_their_pages(admin):
    # Given
    acts.pause(queue="mail")
    acts.pause(task="shop.sync")
    mail, sync = Pause.objects.order_by("kind")

    # When
    data = {"action": "resume", "index": "0", "_selected_action": [str(mail.pk)]}
    assert messages(admin, admin.post(PAUSES, data)) == ["1 pause has ended."]
    assert "Resume" in page(admin, f"{PAUSES}{sync.pk}/change/")
    response = admin.post(f"{PAUSES}{sync.pk}/resume/")

    # Then it leads to the list, since the pause has no page any more
    assert (response.status_code, response["Location"]) == (302, PAUSES)
    assert messages(admin, response) == ["1 pause has ended."]
    assert acts.pauses() == []
    assert log() == [("pause", "Resumed."), ("pause", "Resumed.")]
    assert messages(admin, admin.post(f"{PAUSES}{sync.pk}/resume/"))[-1] == "It is no longer paused."


# --- the page of a task ---------------------------------------------------------------------------------------------


def test_the_page_of_a_task_pauses_and_resumes_its_name_and_its_queue(admin):
    # Given
    handle = add.using(queue="mail")(1, 2)
    assert "Pause all tasks of this name" in page(admin, page_of(handle))

    # When
    reason = {"autotask_reason": " the printer "}
    said = messages(admin, admin.post(f"{TASKS}{handle.id}/pause_task/", reason))
    assert said == [f"Paused: task {add.name}."]
    assert messages(admin, admin.post(f"{TASKS}{handle.id}/pause_queue/", {})) == ["Paused: queue mail."]

    # Then
    assert paused() == [("queue", "mail", "root", ""), ("task", add.name, "root", "the printer")]
    html = page(admin, page_of(handle))
    assert "Resume all tasks of this name" in html and "Resume this queue" in html
    assert ": the printer" in html

    # When
    assert messages(admin, admin.post(f"{TASKS}{handle.id}/resume_task/")) == [f"Resumed: task {add.name}."]
    assert messages(admin, admin.post(f"{TASKS}{handle.id}/resume_task/")) == ["It is not paused."]
    assert messages(admin, admin.post(f"{TASKS}{handle.id}/resume_queue/")) == ["Resumed: queue mail."]

    # Then
    assert acts.pauses() == []
    assert [message for model, message in log() if model == "taskrecord"] == [
        f"Paused: task {add.name}.",
        "Paused: queue mail.",
        f"Resumed: task {add.name}.",
        "Resumed: queue mail.",
    ]


# --- permissions ----------------------------------------------------------------------------------------------------


def test_who_may_only_look_pauses_and_resumes_nothing(staff):
    # Given
    acts.pause(queue="mail")
    pause, handle, client = Pause.objects.get(), add(1, 2), staff("view_pause", "view_taskrecord")

    # Then
    assert "queue mail" in page(client, PAUSES)
    assert "Resume" not in page(client, f"{PAUSES}{pause.pk}/change/")
    assert "Pause all tasks" not in page(client, page_of(handle))
    assert client.get(f"{PAUSES}add/").status_code == 403
    assert client.post(f"{PAUSES}add/", fill_in("queue", "x")).status_code == 403
    for address in (
        f"{PAUSES}{pause.pk}/resume/",
        f"{TASKS}{handle.id}/pause_task/",
        f"{TASKS}{handle.id}/pause_queue/",
    ):
        assert client.post(address).status_code == 403
    assert len(acts.pauses()) == 1


def test_who_may_pause_does(staff):
    client, handle = staff("view_pause", "view_taskrecord", "pause_tasks"), add(1, 2)
    assert client.post(f"{TASKS}{handle.id}/pause_task/").status_code == 302
    assert client.post(f"{PAUSES}{Pause.objects.get().pk}/resume/").status_code == 302
    assert acts.pauses() == []


def test_nobody_sees_the_list_without_permission_and_nobody_changes_or_deletes(staff, admin):
    acts.pause(queue="mail")
    key = Pause.objects.get().pk
    assert staff().get(PAUSES).status_code == 403
    assert admin.post(f"{PAUSES}{key}/change/", fill_in("queue", "x")).status_code == 403
    assert admin.get(f"{PAUSES}{key}/delete/").status_code == 403
