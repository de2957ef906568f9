"""The pages of schedules in the admin: what they show, who may press which button, and that they stay fast."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from autotask.admin import schedules
from autotask.models import Schedule, Task
from autotask.schedules import zone_data
from autotask.schedules.remarks import remarks
from autotask.task import DONE, State
from autotask.tasks import cron_task, periodic_task
from tests.helpers import wait_until
from tests.integration.admin.pages import SCHEDULES, TASKS, ended, page, page_of
from tests.integration.admin.tasks import tidy

pytestmark = pytest.mark.django_db(transaction=True)


@periodic_task(seconds=900)
def fetch() -> None:
    pass


@cron_task(cron="30 2 * * *", tz="Europe/Berlin", misfire="skip", jitter=5)
def report() -> None:
    pass


def put(name: str = "gone.tasks.tidy", **fields) -> Schedule:
    """Register a schedule."""
    now = timezone.now()
    values = {"task": name, "spec": "every 60 s", "registered_at": now, "declared_at": now}
    return Schedule.objects.create(name=name, **{**values, "next_tick": now + timedelta(minutes=1), **fields})


@pytest.fixture
def fetching(transactional_db) -> Schedule:
    """A periodic task, registered as a worker does it."""
    return put(fetch.name, spec=fetch.schedule.spec)


@pytest.fixture
def reporting(transactional_db) -> Schedule:
    """A cron task, registered as a worker does it."""
    return put(report.name, spec=report.schedule.spec, next_tick=report.schedule.next_after(datetime.now(UTC)))


def page_of_schedule(schedule: Schedule) -> str:
    return f"{SCHEDULES}{schedule.name}/change/"


def press(client: Client, button: str, schedule: Schedule) -> list[str]:
    """Press a button on the page of a schedule; return the messages."""
    response = client.post(f"{SCHEDULES}{schedule.name}/{button}/")
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def act(client: Client, action: str, *schedules: Schedule, **more: str) -> list[str]:
    """Choose schedules in the list and run an action; return the messages."""
    data = {"action": action, "index": "0", "_selected_action": [schedule.name for schedule in schedules], **more}
    response = client.post(SCHEDULES, data)
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in client.get(response["Location"]).context["messages"]]


def listed(client: Client, **query: str) -> list[str]:
    return [schedule.name for schedule in client.get(SCHEDULES, query).context["cl"].result_list]


# --- what is shown --------------------------------------------------------------------------------------------------


def test_the_page_tells_which_data_of_time_zones_it_goes_by(admin, fetching, reporting):
    data = str(zone_data.in_use(report.schedule.zone))
    assert data in admin.get(page_of_schedule(reporting)).content.decode()
    assert data not in admin.get(page_of_schedule(fetching)).content.decode()


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


def test_the_list_says_in_words_when_each_is_due_and_how_it_is(admin, fetching, reporting):
    # Given
    put("late.one", next_tick=timezone.now() - timedelta(minutes=5))
    put("paused.one", paused_at=timezone.now(), paused_by="ada")

    # When
    html = page(admin, SCHEDULES)

    # Then
    assert "Every 15 minutes" in html
    assert "At 02:30 every day" in html
    assert "30 2 * * * · Europe/Berlin" in html
    assert re.search(r'title="by ada">paused</span>', html)
    assert len(re.findall(">late</span>", html)) == 1
    assert len(re.findall(r"autotask-pill[^>]*>active</span>", html)) == 2


def test_the_list_leads_to_the_last_run_and_tells_how_it_ended(admin, fetching):
    # Given
    ended(name=fetch.name, schedule=fetch.name)
    last = ended(State.ERROR, name=fetch.name, schedule=fetch.name, error_message="no paper", created_at=timezone.now())

    # Then
    html = page(admin, SCHEDULES)
    assert re.search(rf'<a href="{page_of(last)}"><span [^>]*title="no paper">error</span></a>', html)


def test_a_user_who_may_not_see_tasks_gets_no_links_to_them(staff, fetching):
    # Given
    last = ended(State.ERROR, name=fetch.name, schedule=fetch.name)
    without, with_links = staff("view_schedule"), staff("view_schedule", "view_taskrecord")

    # Then
    for address in (SCHEDULES, page_of_schedule(fetching)):
        assert ">error</span>" in page(without, address) and TASKS not in page(without, address)
        assert page_of(last) in page(with_links, address)


def test_the_page_shows_next_ticks_clock_changes_and_policy(admin, reporting):
    # When
    html = page(admin, page_of_schedule(reporting))

    # Then
    for moment in report.schedule.upcoming(10):
        local = moment.astimezone(report.schedule.zone)
        assert f"{local:%a} {local.isoformat(' ', 'seconds')}" in html
    now = datetime.now(UTC)
    told = remarks(report.schedule, now, now + timedelta(days=365))
    assert told
    assert all(str(remark) in html for remark in told)
    assert "misfire: skip · overlap: skip · jitter: 5.0 s" in html
    assert "Clock changes:" in html and "Europe/Berlin" in html
    assert "No runs are stored." in html


def test_the_page_shows_the_last_twenty_runs_newest_first(admin, reporting):
    # Given
    tick = datetime(2026, 5, 1, 0, 30, tzinfo=UTC)
    runs = [
        ended(
            name=report.name, schedule=report.name, scheduled_for=tick + timedelta(days=day),
            created_at=tick + timedelta(days=day),
        )
        for day in range(25)
    ]  # fmt: skip
    by_hand = ended(State.ERROR, name=report.name, schedule=report.name, error_message="no paper")
    ended(name="other", schedule="other")

    # When
    html = page(admin, page_of_schedule(reporting)).split('id="autotask-runs-heading"')[1]

    # Then
    links = re.findall(r'href="([^"]*taskrecord[^"]*)"', html)
    assert links == [page_of(run) for run in [by_hand, *runs[:-20:-1]]]
    assert "by hand" in html
    assert "no paper" in html
    assert "Sat 2026-05-23 02:30:00+02:00" in html


def test_the_page_of_one_that_is_paused_says_since_when_and_by_whom(admin, fetching):
    Schedule.objects.update(paused_at=timezone.now() - timedelta(hours=3), paused_by="ada")
    html = page(admin, page_of_schedule(fetching))
    assert re.search(r"by ada <time [^>]*>3 h ago</time>", html)
    assert "Resume this schedule" in html
    assert "Pause this schedule" not in html


def test_a_schedule_whose_code_is_not_here_says_so_and_cannot_be_run(admin):
    schedule = put()
    html = page(admin, page_of_schedule(schedule))
    assert "It is not in the code of this process." in html
    assert "every 60 s" in html
    assert "Run now" not in html
    assert "Pause this schedule" in html


def test_a_schedule_whose_code_differs_says_so(admin):
    schedule = put(report.name, spec="cron 0 5 * * * (UTC)")
    html = page(admin, page_of_schedule(schedule))
    assert "The code of this process has another timetable." in html
    assert "cron 0 5 * * * (UTC)" in html


def test_the_pages_work_without_time_zones_and_hold_nothing_inline(admin, fetching, reporting, settings):
    # Given
    settings.USE_TZ = False
    now = timezone.now()
    ended(name=report.name, schedule=report.name, scheduled_for=now)
    Schedule.objects.filter(name=fetch.name).update(paused_at=now, paused_by="ada")

    # Then
    for address in (SCHEDULES, page_of_schedule(fetching), page_of_schedule(reporting)):
        html = page(admin, address)
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_schedules_are_found_by_name_and_by_how_they_are(admin, fetching):
    # Given
    put("late.one", next_tick=timezone.now() - timedelta(minutes=5))
    put("paused.one", paused_at=timezone.now(), next_tick=timezone.now() - timedelta(minutes=5))

    # Then
    assert listed(admin, state="late") == ["late.one"]
    assert listed(admin, state="paused") == ["paused.one"]
    assert listed(admin, state="active") == [fetch.name]
    assert listed(admin, q="one") == ["late.one", "paused.one"]


# --- the buttons and the actions ------------------------------------------------------------------------------------


def test_a_button_pauses_and_another_resumes(admin, fetching):
    # When
    told = press(admin, "pause", fetching)

    # Then
    assert told == ["1 schedule is paused."]
    fetching.refresh_from_db()
    assert fetching.paused_at is not None
    assert fetching.paused_by == "root"
    assert press(admin, "pause", fetching) == [f"already paused: {fetch.name}"]

    # When
    assert press(admin, "resume", fetching) == ["1 schedule is resumed."]

    # Then
    fetching.refresh_from_db()
    assert fetching.paused_at is None
    assert press(admin, "resume", fetching) == [f"not paused: {fetch.name}"]
    history = LogEntry.objects.order_by("id").values_list("object_id", "change_message", "user__username")
    assert list(history) == [(fetch.name, "Paused.", "root"), (fetch.name, "Resumed.", "root")]


def test_a_button_runs_it_now_though_it_is_paused(admin, fetching, start_worker):
    # Given
    press(admin, "pause", fetching)

    # When
    assert press(admin, "run", fetching) == ["1 task is enqueued."]

    # Then
    assert Task.objects.get().schedule == fetch.name
    start_worker()
    wait_until(lambda: not Task.objects.exists())
    runs = page(admin, page_of_schedule(fetching)).split('id="autotask-runs-heading"')[1]
    assert f">{DONE}</span>" in runs
    assert "by hand" in runs
    assert LogEntry.objects.latest("id").change_message == "Run by hand."


def test_actions_are_for_several_and_tell_what_they_could_not_do(admin, fetching, reporting):
    # Given
    gone = put()

    # Then
    assert act(admin, "pause", fetching, gone) == ["2 schedules are paused."]
    assert act(admin, "pause", fetching, reporting) == ["1 schedule is paused.", f"already paused: {fetch.name}"]
    assert act(admin, "resume", fetching, reporting, gone) == ["3 schedules are resumed."]
    told = act(admin, "run_now", fetching, reporting, gone)
    assert told == ["2 tasks are enqueued.", "not in the code of this process: gone.tasks.tidy"]
    assert set(Task.objects.values_list("schedule", "scheduled_for")) == {(fetch.name, None), (report.name, None)}


def test_a_schedule_that_is_gone_leads_back(admin, fetching):
    fetching.delete()
    response = admin.post(f"{SCHEDULES}{fetch.name}/pause/")
    assert response["Location"] == SCHEDULES
    assert "no longer registered" in page(admin, SCHEDULES)


@pytest.mark.parametrize("key", ["\0", "a\0b", "x" * 5000, "é"], ids=ascii)
def test_buttons_and_actions_for_what_is_no_schedule_do_nothing(admin, fetching, key):
    for word in ("pause", "resume", "run"):
        assert admin.post(f"{SCHEDULES}{quote(key)}/{word}/")["Location"] == SCHEDULES
    for word in ("pause", "resume", "run_now"):
        data = {"action": word, "index": "0", "_selected_action": [key]}
        assert admin.post(SCHEDULES, data).status_code == (404 if "\0" in key else 302)
    assert not Task.objects.exists()


def test_actions_and_buttons_are_for_what_the_admin_shows_only(admin, fetching, reporting, monkeypatch):
    # Given an admin of the project that shows one schedule only
    everything = schedules.ScheduleAdmin.get_queryset
    monkeypatch.setattr(
        schedules.ScheduleAdmin,
        "get_queryset",
        lambda self, request: everything(self, request).filter(name=reporting.name),
    )

    # When
    for word in ("pause", "resume", "run_now"):
        act(admin, word, fetching)
    for word in ("pause", "resume", "run"):
        assert admin.post(f"{SCHEDULES}{fetch.name}/{word}/")["Location"] == SCHEDULES
    act(admin, "pause", fetching, reporting)
    act(admin, "pause", fetching, select_across="1")

    # Then
    fetching.refresh_from_db()
    reporting.refresh_from_db()
    assert fetching.paused_at is None and reporting.paused_at is not None
    assert not Task.objects.exists()


def test_each_permission_brings_its_own_buttons(staff, fetching):
    # Given
    looker, pauser, runner = (
        staff("view_schedule"),
        staff("view_schedule", "pause_schedule"),
        staff("view_schedule", "run_schedule"),
    )
    pages = [page(client, page_of_schedule(fetching)) for client in (looker, pauser, runner)]
    lists = [page(client, SCHEDULES) for client in (looker, pauser, runner)]

    # Then
    assert ["Pause this schedule" in html for html in pages] == [False, True, False]
    assert ["Run now" in html for html in pages] == [False, False, True]
    assert ['value="pause"' in html for html in lists] == [False, True, False]
    assert ['value="resume"' in html for html in lists] == [False, True, False]
    assert ['value="run_now"' in html for html in lists] == [False, False, True]

    # And who makes up the requests is refused
    assert runner.post(f"{SCHEDULES}{fetch.name}/pause/").status_code == 403
    assert runner.post(f"{SCHEDULES}{fetch.name}/resume/").status_code == 403
    assert pauser.post(f"{SCHEDULES}{fetch.name}/run/").status_code == 403
    assert not Task.objects.exists()


@pytest.mark.parametrize("button", ["pause", "resume", "run"])
def test_a_button_needs_its_form(staff, fetching, button):
    client = staff("view_schedule", "pause_schedule", "run_schedule", enforce_csrf_checks=True)
    asked = client.get(f"{SCHEDULES}{fetch.name}/{button}/")  # as after the login of a user whose session was over
    assert (asked.status_code, asked["Location"]) == (302, f"{SCHEDULES}{fetch.name}/change/")
    assert "Nothing was done. Press the button again." in page(client, asked["Location"])
    assert client.post(f"{SCHEDULES}{fetch.name}/{button}/").status_code == 403


# --- speed ----------------------------------------------------------------------------------------------------------


def test_a_thousand_schedules_are_as_many_queries_as_one(admin, fetching):
    # Given
    page(admin, SCHEDULES)
    with CaptureQueriesContext(connection) as few:
        page(admin, SCHEDULES)

    # When
    now = timezone.now()
    fields = {"task": fetch.name, "spec": "every 60 s", "registered_at": now, "declared_at": now, "next_tick": now}
    Schedule.objects.bulk_create(Schedule(name=f"many.{number:04}", **fields) for number in range(1000))

    # Then
    with CaptureQueriesContext(connection) as many:
        assert "1001 schedules" in page(admin, SCHEDULES)
    assert len(many) == len(few) <= 8
