"""The admin: what the pages show, who may press which button, and that they stay fast."""

import re
import threading
import uuid
from datetime import timedelta
from html import escape
from itertools import product
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from autotask.admin import listing, tasks
from autotask.models import Attempt, Result, Schedule, Task, Worker
from autotask.task import CANCELLED, ERROR, RUNNING, State, new_id
from autotask.tasks import delayed_task, periodic_task
from tests.helpers import wait_until

TASKS = "/admin/autotask/taskrecord/"
WORKERS = "/admin/autotask/worker/"
SCHEDULES = "/admin/autotask/schedule/"
XSS = "<img src=x onerror=alert(1)>"

stop = threading.Event()
broken = threading.Event()


@delayed_task
def add(x: int, y: int) -> int:
    return x + y


@delayed_task(queue="elsewhere")
def fail(reason: str) -> None:
    raise ValueError(reason)


@delayed_task
def fail_while_broken(n: int) -> int:
    if broken.is_set():
        raise ValueError("still broken")
    return n


@delayed_task
def log_in(user: str, password: str) -> None:
    pass


@delayed_task
def wait_for_stop() -> None:
    stop.wait(20)


@periodic_task(seconds=3600, tags=["housekeeping"])
def tidy() -> None:
    pass


@pytest.fixture
def admin(transactional_db) -> Client:
    """A client that may do everything."""
    return client_of(User.objects.create_superuser("root"))


@pytest.fixture
def staff(transactional_db):
    """Make clients of staff with some permissions of autotask."""

    def make(*codenames: str, **options) -> Client:
        user = User.objects.create_user(f"staff{User.objects.count()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(content_type__app_label="autotask", codename__in=codenames))
        return client_of(user, **options)

    return make


@pytest.fixture
def running(worker):
    """A task that runs until it is stopped."""
    stop.clear()
    handle = wait_for_stop()
    wait_until(lambda: handle.status == RUNNING)
    yield handle
    stop.set()


def client_of(user: User, **options) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def page(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def page_of(handle) -> str:
    return f"{TASKS}{handle.id}/change/"


def listed(client: Client, **query) -> list[uuid.UUID]:
    response = client.get(TASKS, query)
    assert response.status_code == 200
    return [record.id for record in response.context["cl"].result_list]


def act(client: Client, action: str, *ids, query: str = "", **more) -> list[str]:
    """Choose tasks in the list and run an action; return the messages."""
    data = {"action": action, "index": "0", "_selected_action": [str(id) for id in ids], **more}
    response = client.post(TASKS + query, data)
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def ended(state: State = State.DONE, **fields) -> Result:
    """Store a task that has ended, without running it."""
    now = timezone.now()
    values = {
        "id": new_id(),
        "state": state,
        "queue": "default",
        "priority": 0,
        "name": "some.task",
        "arguments": "x=1",
        "created_at": now,
        "run_at": now,
        "started_at": now,
        "ended_at": now + timedelta(seconds=1),
        "kept_until": now + timedelta(days=1),
        "attempt": 1,
        "retries": 0,
        "ttl": 300,
        **fields,
    }
    return Result.objects.create(**values)


def registered(**fields) -> Worker:
    """Register a worker that does not exist."""
    now = timezone.now()
    values = {
        "id": uuid.uuid4(),
        "kind": "worker",
        "host": "web-1",
        "boot_id": "boot",
        "pid": 4711,
        "pid_started": 1,
        "threads": 4,
        "version": "1",
        "started_at": now,
        "seen_at": now,
        "lease_until": now + timedelta(minutes=1),
        **fields,
    }
    return Worker.objects.create(**values)


# --- what is shown --------------------------------------------------------------------------------------------------


def test_live_and_ended_tasks_are_in_one_list_newest_first(admin, worker):
    # Given
    done = add(1, 2)
    done.wait(10)
    failed = fail("no paper")
    wait_until(lambda: failed.ready)
    later = add.using(delay=3600)(3, 4)

    # When
    html = page(admin, TASKS)

    # Then
    mine = [later.id, failed.id, done.id]
    assert [id for id in listed(admin) if id in mine] == mine
    for word in ("scheduled", "error", "done", "x=1, y=2", "ValueError: no paper", "elsewhere"):
        assert word in html


def test_the_page_of_a_failed_task_tells_why(admin, autotask_immediate):
    # Given
    failed = fail("no paper")

    # When
    html = page(admin, page_of(failed))

    # Then
    assert str(failed.id) in html
    assert "Traceback (most recent call last)" in html
    assert "raise ValueError(reason)" in html
    assert "Retry this task" in html
    assert "Cancel this task" not in html


def test_how_far_a_task_has_come_and_why_it_was_cancelled_are_shown(admin):
    # Given
    half = ended(
        State.CANCELLED, progress_done=3.0, progress_total=4.0, error_message="nobody wants it", at_most_once=True
    )
    ended(State.DONE, progress_done=512.0)

    # Then
    for html in (page(admin, TASKS), page(admin, f"{TASKS}{half.id}/change/")):
        assert '<progress class="autotask-progress" value="0.75" max="1"></progress> 3/4' in html
        assert "nobody wants it" in html
        assert "1, at most once" in html
    assert re.search(r"field-progress[^>]*>512<", page(admin, TASKS))
    assert '<div class="autotask-note"><span title="nobody wants it">' in page(admin, TASKS)


def test_the_page_of_a_task_tells_when_it_expires(admin):
    moment = timezone.now() + timedelta(hours=2)
    handle = add.using(expires=moment)(1, 2)
    assert timezone.localtime(moment).isoformat() in page(admin, page_of(handle))


@pytest.mark.parametrize(
    ("executor", "timeout", "words"),
    [
        ("", None, ("a thread", "4 h 0 min (AUTOTASK_TIMEOUT)")),
        ("process", 90.0, ("a process of its own", "1 min 30 s")),
        ("cluster", 0.5, ("cluster", "500 ms")),
    ],
)
def test_the_page_of_a_task_tells_where_it_runs_and_how_long_it_may_take(admin, executor, timeout, words):
    record = ended(State.DONE, executor=executor, timeout=timeout)
    shown = page(admin, f"{TASKS}{record.id}/change/")
    for word in words:
        assert f'<div class="readonly">{word}</div>' in shown


def test_the_page_of_a_task_shows_its_tags(admin):
    assert '<div class="readonly">eu, billing</div>' in page(admin, page_of(add.using(tags=["eu", "billing"])(1, 2)))


def test_secrets_are_masked(admin):
    # Given
    handle = log_in("ada", "sesame")

    # Then
    for html in (page(admin, TASKS), page(admin, page_of(handle))):
        assert "sesame" not in html
        assert escape("user='ada', password=•••") in html


@pytest.mark.parametrize("state", list(State)[:6])
def test_every_state_is_a_word(admin, state):
    # Given
    if state.ended:
        handle = ended(state)
    else:
        handle = add(1, 1)
        claim = {"fence": 1, "worker_id": uuid.uuid4(), "started_at": timezone.now()} if state == State.RUNNING else {}
        Task.objects.update(state=state, **claim)

    # Then
    word = {State.READY: "waiting"}.get(state, state.name.lower())
    for html in (page(admin, TASKS), page(admin, page_of(handle))):
        assert re.search(rf'class="autotask-pill autotask-{state.name.lower()}"[^>]*>{word}</span>', html)


def test_a_task_that_is_gone_leads_back(admin):
    response = admin.get(f"{TASKS}{new_id()}/change/")
    assert response.status_code == 302


def test_what_people_wrote_is_text_and_never_markup(admin):
    # Given
    result = ended(
        State.ERROR, name=XSS, queue=XSS, arguments=XSS, error_message=XSS, schedule=XSS, worker_id=uuid.uuid4()
    )
    Attempt.objects.create(
        task_id=result.id,
        number=1,
        fence=1,
        state=State.ERROR,
        ended_at=timezone.now(),
        error_type=XSS,
        error_message=XSS,
        traceback=f"Traceback\n{XSS}",
    )
    busy = registered(host=XSS, kind=XSS, queues=XSS, version=XSS)
    add(1, 2)
    Task.objects.update(name=XSS, state=State.RUNNING, fence=1, worker_id=busy.id, started_at=timezone.now())
    Schedule.objects.create(
        name=XSS, task=XSS, spec=XSS, registered_at=timezone.now(), next_tick=timezone.now(), declared_at=timezone.now()
    )
    schedule_page = reverse("admin:autotask_schedule_changelist")

    # Then
    for address in (TASKS, page_of(result), WORKERS, f"{WORKERS}{busy.id}/change/", schedule_page):
        html = page(admin, address)
        assert XSS not in html
        assert "&lt;img src=x onerror=alert(1)&gt;" in html

    # And in what is told after an action
    act(admin, "retry", result.id)
    assert XSS not in page(admin, f"{TASKS}{result.id}/history/")


def test_pages_hold_neither_inline_style_nor_inline_script(admin):
    # Given: what a strict Content-Security-Policy would refuse
    result = ended(State.ERROR)
    busy = registered()

    # Then
    for address in (TASKS, page_of(result), WORKERS, f"{WORKERS}{busy.id}/change/", SCHEDULES):
        html = page(admin, address)
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_payloads_and_values_are_never_read(admin, autotask_immediate):
    # Given
    done, failed = add(1, 2), fail("no paper")

    # When
    with CaptureQueriesContext(connection) as queries:
        page(admin, TASKS)
        page(admin, page_of(done))
        page(admin, page_of(failed))
        page(admin, WORKERS)

    # Then
    assert len(queries) > 4
    assert not [query for query in queries if re.search(r'payload|"value"', query["sql"])]


def test_pages_work_without_time_zones(admin, settings):
    # Given
    settings.USE_TZ = False
    result = ended(State.ERROR)
    add.using(delay=60)(1, 2)
    registered()

    # Then
    for address in (TASKS, page_of(result), WORKERS, SCHEDULES):
        page(admin, address)


# --- workers and schedules ------------------------------------------------------------------------------------------


def test_workers_are_listed_with_what_they_run(admin, running):
    # Given
    row = Worker.objects.get()

    # Then: one task, as soon as those of the schedules have ended
    one = re.compile(r'<td class="field-running">1</td>')
    wait_until(lambda: one.search(page(admin, WORKERS)), what="one running task")
    assert ">alive</span>" in page(admin, WORKERS)
    assert page_of(running) in page(admin, f"{WORKERS}{row.pk}/change/")
    assert str(row) in page(admin, TASKS)


def test_a_worker_that_no_longer_reports_is_marked(admin):
    # Given
    past = timezone.now() - timedelta(minutes=4)
    registered(host="alive-1")
    registered(host="lost-1", seen_at=past, lease_until=past)

    # When
    alive, lost = re.findall(r"<tr>.*?-1:4711.*?</tr>", page(admin, WORKERS).split("<tbody>")[1], re.S)

    # Then
    assert ">alive</span>" in alive
    assert ">lost</span>" in lost
    assert "4 min" in lost


def test_a_schedule_leads_to_its_tasks(admin):
    # Given
    now = timezone.now()
    Schedule.objects.create(
        name=tidy.name, task=tidy.name, spec="every 3600 s", registered_at=now, next_tick=now, declared_at=now
    )
    mine = ended(name=tidy.name)
    ended(name="other")

    # When
    html = page(admin, SCHEDULES)

    # Then
    assert "Every hour" in html
    assert ">late</span>" not in html
    [address] = re.findall(rf'href="({TASKS}\?[^"]*)"', html)
    assert [record.id for record in admin.get(address).context["cl"].result_list] == [mine.id]


def test_a_schedule_that_nobody_cares_for_is_marked(admin):
    # Given
    past = timezone.now() - timedelta(hours=1)
    Schedule.objects.create(name="n", task="n", spec="s", registered_at=past, next_tick=past, declared_at=past)

    # Then
    assert ">late</span>" in page(admin, SCHEDULES)
    assert ">late</span>" in page(admin, f"{SCHEDULES}n/change/")


# --- who may do what ------------------------------------------------------------------------------------------------


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
    assert client.get(f"{TASKS}{waiting.id}/{button}/").status_code == 405
    assert client.post(f"{TASKS}{waiting.id}/{button}/").status_code == 403
    assert not waiting.ready


# --- retry and cancel -----------------------------------------------------------------------------------------------


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
    assert "not in the database any more" in page(admin, TASKS)


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
    assert "not in the database any more (1)" in told[1]
    for handle in handles:
        handle.refresh()
    assert [handle.wait(10) for handle in handles] == [0, 1, 2]
    assert LogEntry.objects.count() == 3


def test_the_action_cancels_what_waits_and_asks_what_runs(admin, running):
    # Given
    waiting = add.using(delay=3600)(1, 2)
    done = ended(State.DONE)

    # When
    told = act(admin, "cancel", running.id, waiting.id, done.id)

    # Then
    assert told == [
        "1 task was cancelled.",
        "1 running task was asked to stop.",
        "1 task was not cancelled: done (1).",
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
    Task.objects.update(state=State.SCHEDULED, ready_at=None)

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
    assert told == ["3 tasks will run again.", "There are more: these were the first 3."]
    assert act(admin, "retry", done.id, query="?q=mine", **across) == ["2 tasks will run again."]
    assert act(admin, "retry", done.id, query="?q=mine", **across) == ["None of these tasks is in a state for that."]
    assert set(Result.objects.values_list("id", flat=True)) == {done.id, other.id}


# --- filters and search ---------------------------------------------------------------------------------------------


def test_filters_come_from_the_code(admin):
    # Given
    ended(name="unknown.task", queue="unknown_queue")

    # When
    choices = {choice.parameter_name: dict(choice.lookup_choices) for choice in filters_of(admin)}

    # Then
    assert set(choices["state"]) == {"scheduled", "waiting", "running", "done", "error", "cancelled"}
    assert "elsewhere" in choices["queue"] and "unknown_queue" not in choices["queue"]
    assert add.name in choices["task"] and "unknown.task" not in choices["task"]
    assert "housekeeping" in choices["tag"]


def filters_of(client: Client):
    return client.get(TASKS).context["cl"].filter_specs


def test_filters_leave_what_fits(admin):
    # Given
    failed = ended(State.ERROR, queue="elsewhere", name=fail.name)
    done = ended(State.DONE, name=add.name)
    waiting = add(1, 2)

    # Then
    assert listed(admin, state="error") == [failed.id]
    assert listed(admin, state="done") == [done.id]
    assert listed(admin, state="waiting") == [waiting.id]
    assert listed(admin, state="running") == []
    assert listed(admin, queue="elsewhere") == [failed.id]
    assert listed(admin, task=add.name) == sorted([waiting.id, done.id], reverse=True)
    assert listed(admin, task=add.name, state="done") == [done.id]
    assert listed(admin, state="nonsense") == sorted([waiting.id, done.id, failed.id], reverse=True)


def test_a_tag_is_looked_for_whether_or_not_the_code_names_it(admin):
    # Given
    ours, theirs = add.using(tags=["ours", "shared"])(1, 2), ended(State.DONE, tags=["shared"])
    ended(State.DONE)

    # Then
    assert listed(admin, tag="ours") == [ours.id]
    assert listed(admin, tag="shared") == sorted([ours.id, theirs.id], reverse=True)
    assert listed(admin, tag="shared", state="done") == [theirs.id]
    assert listed(admin, tag="share") == listed(admin, tag="\0") == []


def test_search_finds_ids_their_beginnings_and_names(admin):
    # Given
    first = ended(id=uuid.UUID("01999999-aaaa-7000-8000-000000000001"), name="shop.pay")
    second = ended(id=uuid.UUID("01999999-bbbb-7000-8000-000000000002"), name="shop.ship")

    # Then
    assert listed(admin, q=str(first.id)) == [first.id]
    assert listed(admin, q=first.id.hex.upper()) == [first.id]
    assert listed(admin, q="01999999") == [second.id, first.id]
    assert listed(admin, q=" 01999999-b ") == [second.id]
    assert listed(admin, q="shop.ship") == [second.id]
    assert listed(admin, q="shop") == []
    assert listed(admin, q="x=1") == []
    assert listed(admin, q=" ") == [second.id, first.id]


def test_nothing_else_can_be_asked_for_in_the_address(admin):
    for query in ("arguments__icontains=x", "error_message__contains=x", "name__startswith=a", "worker_id=x"):
        assert admin.get(f"{TASKS}?{query}").status_code == 400


def test_the_list_cannot_be_sorted_by_what_has_no_index(admin):
    # Given
    ids = [ended(queue=queue).id for queue in "bca"]

    # Then
    assert listed(admin, o="4") == sorted(ids, reverse=True)


# --- speed ----------------------------------------------------------------------------------------------------------


def test_the_number_of_queries_does_not_grow_with_the_rows(admin):
    # Given
    page(admin, TASKS)
    handle = ended(State.ERROR, worker_id=registered().id)
    with CaptureQueriesContext(connection) as few:
        page(admin, TASKS)
        page(admin, WORKERS)

    # When
    for _ in range(30):
        ended(State.ERROR, worker_id=registered().id)

    # Then
    with CaptureQueriesContext(connection) as many:
        page(admin, TASKS)
        page(admin, WORKERS)
    assert len(many) == len(few) <= 12
    with CaptureQueriesContext(connection) as one:
        page(admin, page_of(handle))
    assert len(one) <= 6


SEED = """
INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, started_at, attempt,
                             retries, ttl, fence, ended_at, kept_until, value, error_message)
SELECT ('01990000-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n %% 2000 = 0 THEN 5 WHEN n %% 500 = 1 THEN 4 ELSE 3 END, 'default', 0,
       CASE WHEN n = 1 THEN 'rare' ELSE 'task' || n %% 40 END, 'n=' || n, now(), now(), now(), 1,
       0, 300, n, now(), now() + interval '1 day', repeat('x', 100)::bytea, ''
FROM generate_series(1, %(ended)s) n
"""

SEED_LIVE = """
INSERT INTO autotask_task (id, state, queue, priority, name, arguments, created_at, run_at, ready_at, retries, ttl,
                           worker_id, fence, payload)
SELECT ('01990001-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE WHEN n < 8 THEN 2 WHEN n %% 10 = 0 THEN 0 ELSE 1 END, 'default', 0, 'task' || n %% 40, 'n=' || n,
       now(), now(), CASE WHEN n >= 8 AND n %% 10 > 0 THEN now() END, 0, 300,
       CASE WHEN n < 8 THEN gen_random_uuid() END, CASE WHEN n < 8 THEN n END, repeat('x', 100)::bytea
FROM generate_series(1, %(live)s) n
"""


@pytest.fixture
def many_tasks(admin, monkeypatch) -> Client:
    """The pages over 50 000 tasks, with a window of 1000."""
    monkeypatch.setattr(listing, "WINDOW", 1000)
    with connection.cursor() as cursor:
        cursor.execute(SEED, {"ended": 45_000})
        cursor.execute(SEED_LIVE, {"live": 5_000})
        cursor.execute("VACUUM ANALYZE autotask_result")
        cursor.execute("VACUUM ANALYZE autotask_task")
    return admin


def test_no_page_of_the_list_looks_at_all_rows_or_sorts_them(many_tasks):
    for query in (
        "",
        "p=2",
        "state=error",
        "state=cancelled",
        "state=done",
        "state=waiting",
        "state=scheduled",
        "state=running",
        "task=rare",
        "task=task3",
        "queue=nothing",
        "tag=nothing",
        "state=done&task=rare",
        "q=rare",
        "q=01990000-0000-7000-8000-000000000007",
        "q=01990001-0",
    ):
        for sql in queries_of(many_tasks, query):
            plan = explained(sql)
            assert plan["Plan"]["Plans"], sql
            assert rows_read(plan["Plan"]) <= 12_000, (query, sql, plan)
            # The few that run are sorted; nothing else is.
            assert all(node["Plan Rows"] <= 100 for node in nodes(plan["Plan"]) if node["Node Type"] == "Sort"), (
                query,
                plan,
            )


def queries_of(client: Client, query: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        page(client, f"{TASKS}?{query}")
    found = [entry["sql"] for entry in queries if "autotask_record" in entry["sql"]]
    assert found
    return found


def explained(sql: str) -> dict:
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + sql.replace("%", "%%"))
        return cursor.fetchone()[0][0]


def nodes(node: dict):
    yield node
    for child in node.get("Plans", ()):
        yield from nodes(child)


def rows_read(plan: dict) -> int:
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan)
        if "Scan" in node["Node Type"] and "Relation Name" in node
    )


def test_names_are_looked_for_among_the_newest_tasks_only(many_tasks):
    # Given: a recent one, and one behind the window
    recent = ended(name="rare")

    # Then
    assert listed(many_tasks, q="rare") == [recent.id]


def test_old_tasks_that_live_or_failed_are_found_by_name_all_the_same(many_tasks):
    # Then: the first failure has the name, and lies behind the window over all tasks
    [id] = listed(many_tasks, q="rare", state="error")
    assert id == uuid.UUID("01990000-0000-7000-8000-000000000001")


def test_many_tasks_are_estimated_and_filtered_ones_counted_up_to_a_limit(many_tasks):
    # When
    everything, done = (many_tasks.get(f"{TASKS}{query}") for query in ("", "?state=waiting"))

    # Then
    assert everything.context["cl"].result_count == pytest.approx(50_000, rel=0.1)
    assert "is an estimate" in everything.content.decode()
    assert done.context["cl"].result_count == Task.objects.filter(state=State.READY).count()
    assert "There are more" not in done.content.decode()

    # And
    more = many_tasks.get(f"{TASKS}?q=01990000-")
    assert more.context["cl"].result_count == listing.COUNTED
    assert "There are more" in more.content.decode()


def test_no_page_lies_behind_the_window(many_tasks):
    assert many_tasks.get(f"{TASKS}?p={1000 // 50}").status_code == 200
    assert many_tasks.get(f"{TASKS}?p={1000 // 50 + 1}").status_code == 302


def test_few_tasks_are_counted_exactly_whatever_the_estimate(admin):
    # Given: nobody has analyzed the tables
    for _ in range(3):
        ended()

    # Then
    response = admin.get(TASKS)
    assert response.context["cl"].result_count == 3
    assert "is an estimate" not in response.content.decode()
