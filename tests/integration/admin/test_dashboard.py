"""The dashboard: its tabs on all pages, the overview, task types and errors."""

import re

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.acts import pausing
from autotask.admin.tabs import LIVE
from autotask.models import Task
from autotask.store import causes, glance
from autotask.store.glance import Count
from autotask.task import State
from tests.integration.admin.pages import SCHEDULES, TASKS, WORKERS, ended, page, page_of, registered
from tests.integration.admin.tasks import add, fail

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


def test_the_overview_counts_tasks_and_says_how_long_the_oldest_has_waited(admin):
    # Given
    add(1, 2)
    add.using(delay=3600)(1, 2)
    fail("later")
    ended(State.ERROR, error_message="ValueError: no paper")
    Task.objects.filter(state=State.READY).update(ready_at=timezone.now() - timezone.timedelta(minutes=5))

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


def test_the_overview_says_what_is_wrong(admin):
    assert "No worker is alive" in banners(admin)

    # Given: a living worker that does not serve the queue, and a lost one
    registered(queues="mail")
    registered(host="gone", lease_until=timezone.now() - timezone.timedelta(minutes=1))
    add(1, 2)
    Task.objects.update(ready_at=timezone.now() - timezone.timedelta(minutes=5))

    # Then
    said = banners(admin)
    assert "A worker is lost; others rescue its tasks: gone:4711." in said
    assert "No living worker serves the queue default, where tasks wait." in said
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
    ended(State.ERROR, name="gone.task")

    # When
    types = {re.sub("<[^>]*>", "", each["name"]): each for each in admin.get(TYPES).context["types"]}

    # Then
    assert types[add.name]["waiting"] == "1"
    assert types[fail.name]["queue"] == "elsewhere"
    assert "Every hour" in types["tests.integration.admin.tasks.tidy"]["about"]
    assert types["gone.task"]["failed"] == "1"
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
    assert "<strong>3 causes</strong> for 6 failed tasks." in html


@pytest.mark.parametrize("query", ["?state=nothing", "?page=x", "?%00", "?p=-1", "?q=%00"])
def test_addresses_that_make_no_sense_are_no_error_of_the_server(admin, query):
    for address in (*PAGES, TASKS, WORKERS, SCHEDULES):
        assert admin.get(address + query).status_code in (200, 302, 400)
