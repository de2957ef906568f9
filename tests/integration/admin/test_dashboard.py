"""The dashboard: its tabs on all pages, the overview, task types and errors."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from autotask import statistics
from autotask.acts import pausing
from autotask.admin import timeline
from autotask.admin.dashboard import pages, passes, shared
from autotask.admin.dashboard.shared import SharedParts
from autotask.admin.tabs import LIVE
from autotask.admin.tasks import TaskAdmin
from autotask.models import Attempt, TaskRecord
from autotask.store import causes, glance, statistics as store
from autotask.store.glance import Count
from autotask.task import State
from tests.integration.admin.pages import SCHEDULES, TASKS, WORKERS, ended, page, page_of, registered
from tests.integration.admin.tasks import add, fail
from tests.integration.store.shapes import edit

OVERVIEW = "/admin/autotask/dashboard/"
TYPES = f"{OVERVIEW}types/"
ERRORS = f"{OVERVIEW}errors/"
PAGES = (OVERVIEW, TYPES, ERRORS)


def tabs_of(html: str) -> list[str]:
    nav = re.search(r'<div class="autotask-tabs">(.*?)</nav>', html, re.S)
    return re.findall(r"<a [^>]*>([^<]*)</a>", nav[1]) if nav else []


def banners(client) -> str:
    return " ".join(re.findall(r'<p class="autotask-banner.*?</p>', page(client, OVERVIEW), re.S))


def test_all_pages_have_the_tabs(admin):
    handle = add.using(delay=3600)(1, 2)
    every = ["Overview", "Tasks", "Task types", "Schedules", "Workers", "Errors"]
    history = page_of(handle).replace("/change/", "/history/")
    for address in (*PAGES, TASKS, WORKERS, SCHEDULES, "/admin/autotask/pause/", page_of(handle), history):
        assert tabs_of(page(admin, address)) == every, address


def test_tabs_and_pages_are_only_for_those_who_may_see_them(staff):
    # Given
    nobody, viewer = staff("view_worker"), staff("view_dashboard")
    both = staff("view_dashboard", "view_taskrecord")

    # Then
    assert [nobody.get(address).status_code for address in PAGES] == [403, 403, 403]
    assert [viewer.get(address).status_code for address in PAGES] == [200, 200, 403]
    assert [both.get(address).status_code for address in PAGES] == [200, 200, 200]
    assert tabs_of(page(nobody, WORKERS)) == ["Workers"]
    assert tabs_of(page(viewer, OVERVIEW)) == ["Overview", "Task types"]
    assert tabs_of(page(both, OVERVIEW)) == ["Overview", "Tasks", "Task types", "Errors"]


def test_names_and_errors_of_tasks_are_only_for_those_who_may_see_tasks(staff):
    ended(State.ERROR, error_message="ValueError: secret")
    registered(host="hidden")
    viewer = page(staff("view_dashboard"), OVERVIEW)
    assert "secret" not in viewer
    assert "hidden:" not in viewer.replace("autotask-banner", "").split("autotask-tiles")[1]
    assert "secret" in page(staff("view_dashboard", "view_taskrecord"), OVERVIEW)


def test_links_to_tasks_are_only_for_those_who_may_see_tasks(staff):
    add.using(queue="mail")(1, 2)
    viewer, both = staff("view_dashboard"), staff("view_dashboard", "view_taskrecord")
    for address in (OVERVIEW, TYPES):
        assert f'href="{TASKS}?' not in page(viewer, address)
        assert f'href="{TASKS}?' in page(both, address)


def test_where_the_admin_of_the_project_leaves_tasks_out_no_page_shows_them(admin, monkeypatch):
    ended(State.ERROR, error_message="ValueError: secret")
    monkeypatch.setattr(TaskAdmin, "get_queryset", lambda self, request: TaskRecord.objects.none())
    assert "secret" not in page(admin, OVERVIEW)
    assert admin.get(ERRORS).status_code == 403
    assert "Errors" not in tabs_of(page(admin, TASKS)) and "Tasks" in tabs_of(page(admin, TASKS))


def test_the_overview_counts_tasks_and_says_how_long_the_oldest_has_waited(admin):
    # Given
    add(1, 2)
    add.using(delay=3600)(1, 2)
    fail("later")
    ended(State.ERROR, error_message="ValueError: no paper")
    edit("UPDATE autotask_task SET ready_at = now() - interval '5 minutes' WHERE state = 1")

    # When
    response = admin.get(OVERVIEW)

    # Then
    numbers = {state["key"]: state["number"] for state in response.context["states"]}
    assert numbers == {
        "scheduled": "1",
        "waiting": "2",
        "held": "0",
        "running": "0",
        "done": None,
        "error": "1",
        "cancelled": "0",
    }
    assert [(queue.queue, queue.ready) for queue in glance.queues(connection)] == [
        ("default", Count(1)),
        ("elsewhere", Count(1)),
    ]
    assert response.context["oldest"].startswith("5 min")
    assert "ValueError: no paper" in response.content.decode()


def test_the_overview_says_what_is_wrong(admin, staff):
    assert "No worker is alive" in banners(admin)

    # Given: a running worker that does not serve the queue, and a lost one
    registered(queues="mail")
    registered(host="gone", lease_until=timezone.now() - timedelta(minutes=1))
    add(1, 2)
    edit("UPDATE autotask_task SET ready_at = now() - interval '5 minutes'")

    # Then
    said = banners(admin)
    assert "A worker is lost; others rescue its tasks: gone:4711." in said
    hidden = banners(staff("view_dashboard"))
    assert "A worker is lost; others rescue its tasks." in hidden and "gone" not in hidden
    assert "No running worker serves the queue default, where tasks wait." in said
    assert "The oldest due task has waited for 5 min" in said

    # And what is paused does not have to be served
    pausing.pause(queue="default", by="ann")
    assert "default" not in banners(admin)
    pausing.pause(everything=True, by="ann")
    assert "Everything is paused, by ann." in banners(admin)
    with override_settings(AUTOTASK_IS_ACTIVE=False):
        assert "AUTOTASK_IS_ACTIVE is False" in banners(admin)


def test_a_refresh_gets_the_part_that_changes_only(admin):
    for address in PAGES:
        part = admin.get(address, headers={LIVE: "1"}).content.decode()
        assert part.strip().startswith('<div id="autotask-page">')
        assert "<html" not in part


def refreshed(client, address: str = OVERVIEW, **headers: str) -> str:
    response = client.get(address, headers={LIVE: "1", **headers})
    assert response.status_code == 200
    return response.content.decode()


def test_viewers_who_may_see_the_same_share_a_refresh(admin, staff, monkeypatch):
    # Given
    monkeypatch.setattr(shared, "KEPT", 3600.0)
    both = [staff("view_dashboard", "view_taskrecord") for _ in range(2)]
    ended(State.ERROR, error_message="ValueError: first")
    assert "first" in refreshed(both[0])
    ended(State.ERROR, error_message="ValueError: second")

    # When, Then: only who asks is looked up
    with CaptureQueriesContext(connection) as queries:
        assert "second" not in refreshed(both[1])
    assert not [query["sql"] for query in queries if "autotask_" in query["sql"]]
    assert "second" in page(both[0], OVERVIEW)

    # When it has been kept for long enough
    monkeypatch.setattr(pages, "_parts", SharedParts())
    assert "second" in refreshed(both[1])


def test_a_refresh_with_the_pass_of_the_last_one_makes_no_query(admin, django_assert_num_queries):
    first = admin.get(OVERVIEW, headers={LIVE: "1"})
    with django_assert_num_queries(0):
        next_one = admin.get(OVERVIEW, headers={LIVE: "1", passes.HEADER: first.headers[passes.HEADER]})
    assert next_one.content == first.content
    assert "no-store" in next_one.headers["Cache-Control"]


@pytest.mark.parametrize(
    "how", ["old", "forged", "of another page", "of a part that is gone", "of a session that has ended"]
)
def test_a_pass_that_is_not_valid_is_as_none(how, admin, monkeypatch):
    # Given
    given = admin.get(ERRORS if how == "of another page" else OVERVIEW, headers={LIVE: "1"}).headers[passes.HEADER]
    if how == "old":
        monkeypatch.setattr(passes, "SECONDS", -1)
    if how == "forged":
        given = given[:-1] + ("a" if given[-1] != "a" else "b")
    if how == "of a part that is gone":
        monkeypatch.setattr(pages, "_parts", SharedParts())
    # When
    admin.logout()
    answer = admin.get(OVERVIEW, headers={LIVE: "1", passes.HEADER: given})
    # Then
    assert answer.status_code == 302 and "login" in answer.headers["Location"]


def test_a_site_without_sessions_has_no_passes_since_nothing_would_bind_them_to_their_reader():
    request = RequestFactory().get(OVERVIEW)
    assert passes.HEADER not in passes.give(request, HttpResponse(), "key").headers
    signed = passes._signer(request).sign("key")
    assert passes.key_in(RequestFactory().get(OVERVIEW, headers={passes.HEADER: signed})) is None


def test_a_refresh_is_never_that_of_somebody_who_sees_or_chose_something_else(admin, staff):
    # Given: what a superuser sees
    ended(State.ERROR, error_message="ValueError: secret")
    registered(host="hidden")
    pausing.pause(queue="default", by="the boss")
    assert all(word in refreshed(admin) for word in ("secret", "hidden", "the boss"))
    assert "Retry all" in refreshed(admin, ERRORS)

    # Then
    lesser, reader = staff("view_dashboard"), staff("view_dashboard", "view_taskrecord")
    assert not [word for word in ("secret", "hidden:", "the boss") if word in refreshed(lesser)]
    assert lesser.get(ERRORS, headers={LIVE: "1"}).status_code == 403
    assert "secret" in refreshed(reader) and "the boss" not in refreshed(reader)
    assert "secret" in refreshed(reader, ERRORS) and "Retry all" not in refreshed(reader, ERRORS)
    assert "7 days" in refreshed(admin, f"{OVERVIEW}?range=7d").split("</h2>")[0]
    with translation.override("de"):
        assert "längste Wartezeit" in refreshed(admin)
    with timezone.override("Asia/Tokyo"):
        assert "+09:00" in refreshed(admin)
    assert "Overview" not in refreshed(admin) and "longest wait" in refreshed(admin)


def test_a_refresh_ends_with_the_session(admin):
    refreshed(admin)
    admin.logout()
    assert admin.get(OVERVIEW, headers={LIVE: "1"}).status_code == 302


def test_the_pages_take_few_queries_however_many_tasks_there_are(admin):
    def queries(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin, address)
        return len(captured)

    add(1, 2)
    few = [queries(address) for address in PAGES]
    for number in range(10):
        ended(State.ERROR, name=f"name{number}", error_message=f"E{'x' * number}")
        add.using(queue=f"queue{number}")(1, 2)
        registered()
    assert [queries(address) for address in PAGES] <= few
    assert max(few) <= 12


def test_counts_beyond_the_bound_are_estimates(admin, monkeypatch):
    for _ in range(5):
        ended(State.ERROR)
    monkeypatch.setattr(glance, "COUNTED", 3)
    found = glance.counts(connection)[State.ERROR]
    assert found == Count(3, is_exact=False)


def test_task_types_are_those_of_the_code_and_those_of_the_rows(admin):
    # Given
    add(1, 2)
    fail.using(delay=60)("later")
    minute = int(time.time()) // 60 * 60
    ran = [0] * (statistics.bucket(0.2) + 1)
    ran[-1] = 4
    counts = statistics.Counts(started=4, succeeded=3, failed=1, running=statistics.padded(ran))
    store.add(connection, {store.Key(minute, "gone.task", "default"): counts})

    # When
    types = {re.sub("<[^>]*>", "", each["name"]): each for each in admin.get(TYPES).context["types"]}

    # Then
    assert types[add.name]["waiting"] == "1"
    assert types[fail.name]["queue"] == "elsewhere"
    assert "Every hour" in types["tests.integration.admin.tasks.tidy"]["about"]
    assert (types["gone.task"]["done"], types["gone.task"]["failed"]) == ("3", "1 (25%)")
    assert re.fullmatch(r"\d+ ms / \d+ ms", types["gone.task"]["ran"])
    assert "not in the code" in types["gone.task"]["state"]


def test_errors_of_one_cause_are_counted_together(admin):
    # Given
    for number in range(4):
        ended(State.ERROR, error_message=f"KeyError: 'customer_{number}' (after {number} s)")
    ended(State.ERROR, error_message="KeyError: 'x' (after 1 s)", name="other.task")
    ended(State.ERROR, error_message="ValueError: no paper")
    ended(State.CANCELLED, error_message="ValueError: no paper")

    # Then
    assert [(cause.name, cause.count, cause.texts) for cause in causes.causes(connection)] == [
        ("some.task", 4, 4),
        ("other.task", 1, 1),
        ("some.task", 1, 1),
    ]
    html = page(admin, ERRORS)
    assert "<strong>3 causes</strong>; failed tasks: 6." in html


@pytest.mark.parametrize("query", ["?state=nothing", "?page=x", "?%00", "?p=-1", "?q=%00"])
def test_addresses_that_make_no_sense_are_no_error_of_the_server(admin, query):
    for address in (*PAGES, TASKS, WORKERS, SCHEDULES):
        assert admin.get(address + query).status_code in (200, 302, 400)


def test_the_chart_shows_what_ended_in_the_chosen_range(admin):
    # Given: an hour ago and now
    now = int(time.time()) // 60 * 60
    for minute, number in ((now - 7200, 5), (now, 2)):
        counts = statistics.Counts(started=number, succeeded=number, failed=1)
        store.add(connection, {store.Key(minute, add.name, "default"): counts})

    # Then
    for query, done in (("", "2"), ("?range=6h", "7"), ("?range=nonsense", "2"), ("?range=%00", "2")):
        chart = admin.get(OVERVIEW + query).context["chart"]
        assert (chart["legend"][0]["number"], chart["is_empty"]) == (done, False)
        assert f"{done} done" in chart["drawn"]


START = datetime(2026, 5, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def life(record: dict, attempts: list[Attempt], now: float, *, are_all: bool = True) -> list[tuple]:
    values = {"created_at": at(0), "run_at": at(0), "attempt": 1, **record}
    found = timeline.parts(TaskRecord(**values), attempts, at(now), are_all=are_all)
    return [(part.state.name, (part.ended - part.began).total_seconds(), part.attempt) for part in found]


def failed_attempt(number: int, began: float, ended: float, state: State = State.RETRY) -> Attempt:
    return Attempt(number=number, state=state, started_at=at(began), ended_at=at(ended), error_message="E")


def test_the_timeline_of_a_task_tells_how_long_it_waited_and_ran():
    done = {"state": State.DONE, "run_at": at(60), "started_at": at(65), "ended_at": at(95)}
    assert life(done, [], 999) == [("SCHEDULED", 60, None), ("READY", 5, None), ("DONE", 30, 1)]
    running = {"state": State.RUNNING, "started_at": at(5)}
    assert life(running, [], 9) == [("READY", 5, None), ("RUNNING", 4, 1)]
    assert life({"state": State.SCHEDULED, "run_at": at(60)}, [], 10) == [("SCHEDULED", 10, None)]
    assert life({"state": State.HELD, "run_at": at(6)}, [], 10) == [("SCHEDULED", 6, None), ("HELD", 4, None)]
    assert life({"state": State.READY, "run_at": at(600)}, [], 10) == [("SCHEDULED", 10, None)]
    assert life({"state": State.CANCELLED, "ended_at": at(7)}, [], 10) == [("READY", 7, None)]


def test_the_timeline_of_a_task_has_the_attempts_that_failed():
    attempts = [failed_attempt(1, 2, 5), failed_attempt(2, 15, 20)]
    again = {"state": State.RUNNING, "attempt": 3, "run_at": at(30), "started_at": at(31)}
    past = [("READY", 2, None), ("RETRY", 3, 1), ("READY", 10, None), ("RETRY", 5, 2)]
    assert life(again, attempts, 40) == [*past, ("SCHEDULED", 10, None), ("READY", 1, None), ("RUNNING", 9, 3)]
    failed = [*attempts, failed_attempt(3, 31, 40, State.ERROR)]
    over = {"state": State.ERROR, "attempt": 3, "run_at": at(30), "started_at": at(31), "ended_at": at(40)}
    assert life(over, failed, 999) == [*past, ("READY", 11, None), ("ERROR", 9, 3)]
    assert life(over, failed[1:], 999, are_all=False)[0] == ("RETRY", 5, 2)


def test_the_page_of_a_task_shows_its_timeline(admin):
    handle = ended(State.ERROR, attempt=1)
    Attempt.objects.create(
        task_id=handle.id, number=1, fence=1, state=State.ERROR, ended_at=timezone.now(), error_message="no paper"
    )
    html = page(admin, f"{TASKS}{handle.id}/change/")
    assert "<strong>attempt 1: error</strong>" in html
    assert 'class="autotask-life"' in html
