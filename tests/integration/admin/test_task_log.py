"""The log of a task on its page, and as a file."""

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import AsyncRequestFactory
from django.test.utils import CaptureQueriesContext

from autotask import logs
from autotask.admin import task_log
from autotask.admin.tasks import TaskAdmin
from autotask.models import TaskRecord
from autotask.store import task_logs
from autotask.store.connection import current
from autotask.task import new_id
from tests.integration.admin.pages import TASKS, page
from tests.integration.store.shapes import put

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_of_a_task_shows_its_last_lines_and_a_link_to_all(admin):
    # Given
    [id] = put(1)
    assert "Download all lines" not in page(admin, f"{TASKS}{id}/change/")
    task_logs.write(current(), [task_logs.alone(id, 1, "<b>first</b>\n"), task_logs.alone(id, 2, "second\n")])
    # When
    shown = page(admin, f"{TASKS}{id}/change/")
    # Then
    assert "&lt;b&gt;first&lt;/b&gt;\nsecond\n</pre>" in shown
    assert f'href="{TASKS}{id}/log/"' in shown and "Only the last lines" not in shown
    # And
    task_logs.write(current(), [task_logs.alone(id, 2, "x" * logs.PAGE + "\n"), task_logs.alone(id, 2, "last\n")])
    shown = page(admin, f"{TASKS}{id}/change/")
    assert task_logs.last_lines(current(), id, 5) == "last\n"
    assert task_logs.last_lines(current(), id, logs.PAGE).startswith("xxx")
    assert "Only the last lines are shown." in shown and "second" not in shown and "last\n</pre>" in shown


def test_the_page_of_a_task_and_the_download_say_how_many_earlier_lines_are_missing(admin):
    # Given
    [id] = put(1)
    at = "2026-11-29 06:00:02.871Z"
    task_logs.write(current(), [task_logs.alone(id, 1, f"{at} | 1 | INFO | shop - last\n", before=1_234)])
    expected = f"{at} | 1 | WARNING | autotask.task - 1,234 earlier lines are not kept\n{at} | 1 | INFO | shop - last\n"
    # Then
    assert f"{expected}</pre>" in page(admin, f"{TASKS}{id}/change/")
    assert b"".join(admin.get(f"{TASKS}{id}/log/").streaming_content).decode() == expected


def test_all_lines_can_be_downloaded_by_those_who_may_see_the_task(admin, staff):
    # Given
    [id] = put(1)
    task_logs.write(current(), [task_logs.alone(id, 1, "Zürich\n")])
    # When
    response = admin.get(f"{TASKS}{id}/log/")
    # Then
    assert b"".join(response.streaming_content).decode() == "Zürich\n"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{id}.log"'
    assert staff("view_taskrecord").get(f"{TASKS}{id}/log/").status_code == 200
    assert staff("view_worker").get(f"{TASKS}{id}/log/").status_code == 403
    assert admin.get(f"{TASKS}{new_id()}/log/").status_code == 404
    assert admin.get(f"{TASKS}nonsense/log/").status_code == 404


def test_all_lines_are_read_some_pieces_at_a_time(admin, monkeypatch):
    # Given
    [id] = put(1)
    monkeypatch.setattr(task_logs, "SOME_PIECES", 2)
    task_logs.write(current(), [task_logs.alone(id, 1, f"line {number}\n") for number in range(5)])

    # When
    response = admin.get(f"{TASKS}{id}/log/")
    with CaptureQueriesContext(current()) as queries:
        pieces = list(response.streaming_content)

    # Then
    assert pieces == [f"line {number}\n".encode() for number in range(5)]
    assert len(queries) == 4


def test_an_asynchronous_server_gets_the_lines_as_they_are_read(admin):
    # Given
    [id] = put(1)
    task_logs.write(current(), [task_logs.alone(id, 1, "first\n"), task_logs.alone(id, 1, "second\n")])
    request = AsyncRequestFactory().get("/")
    request.user = User.objects.get()

    async def read() -> bytes:
        response = await sync_to_async(task_log.download)(TaskAdmin(TaskRecord, site), request, str(id))
        return b"".join([piece async for piece in response.streaming_content])

    # Then
    assert async_to_sync(read)() == b"first\nsecond\n"
