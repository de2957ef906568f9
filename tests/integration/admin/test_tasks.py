"""The pages of tasks: what they show, and what they never show."""

import re
import uuid
from datetime import timedelta
from html import escape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from autotask import logs
from autotask.models import Attempt, Schedule, Task
from autotask.task import State, new_id
from tests.helpers import wait_until
from tests.integration.admin.pages import SCHEDULES, TASKS, WORKERS, act, ended, listed, page, page_of, registered
from tests.integration.admin.tasks import add, fail, log_in
from tests.integration.store.shapes import let_run, put

XSS = "<img src=x onerror=alert(1)>"


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
    assert '<div class="autotask-below">512</div>' in page(admin, TASKS)
    assert '<div class="autotask-note"><span title="nobody wants it">' in page(admin, TASKS)


def test_the_page_of_a_task_tells_when_it_expires(admin):
    moment = timezone.now() + timedelta(hours=2)
    handle = add.using(expires=moment)(1, 2)
    assert timezone.localtime(moment).isoformat() in page(admin, page_of(handle))


@pytest.mark.parametrize(
    ("executor", "timeout", "words"),
    [
        ("", None, ("a thread", "4 h (AUTOTASK_TIMEOUT)")),
        ("process", 90.0, ("a child process", "1 min 30 s")),
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
        if state == State.RUNNING:
            let_run(handle.id)
        elif state != State.READY:
            Task.objects.update(state=state)

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
    let_run(add(1, 2).id, worker=busy.id)
    Task.objects.update(name=XSS)
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


def test_the_page_of_a_task_shows_the_end_of_its_log_as_text(admin, settings, tmp_path, monkeypatch):
    # Given
    handle = add(1, 2)
    assert "autotask-log" not in page(admin, page_of(handle))
    settings.AUTOTASK_LOG_DIR = tmp_path
    assert "autotask-log" not in page(admin, page_of(handle))

    # When
    (tmp_path / f"{handle.id}.log").write_text(f"first line\n{XSS}\n")

    # Then
    html = page(admin, page_of(handle))
    assert "first line" in html and escape(XSS) in html and XSS not in html
    assert "Only the last lines" not in html

    # When
    (tmp_path / f"{handle.id}.log").write_text("x" * 80 + "\nnot shown\n" + "y" * logs.PAGE + "\nlast line\n")

    # Then
    html = page(admin, page_of(handle))
    assert "last line" in html and "not shown" not in html and "Only the last lines" in html


def test_a_log_that_cannot_be_read_does_not_hide_the_page(admin, settings, tmp_path):
    handle = add(1, 2)
    settings.AUTOTASK_LOG_DIR = tmp_path
    (tmp_path / f"{handle.id}.log").mkdir()
    html = page(admin, page_of(handle))
    assert "The log file cannot be read: Is a directory" in html and "x=1, y=2" in html


def test_a_task_that_is_not_due_has_not_waited(admin):
    # Given
    [id] = put(1, delay=3 * 3600 + 300)
    # Then the list says when it is due, and the page does not call that the time that it waited
    assert "in 3 h" in page(admin, TASKS).partition("result_list")[2]
    shown = page(admin, f"{TASKS}{id}/change/")
    assert "in 3 h" not in shown.partition("field-waited")[2].partition("field-ran")[0]
