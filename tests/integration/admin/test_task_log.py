"""The log of a task on its page, and as a file."""

import pytest

from autotask import logs
from autotask.store import task_logs
from autotask.store.connection import current
from autotask.store.task_logs import NewPiece
from autotask.task import new_id
from tests.integration.admin.pages import TASKS, page
from tests.integration.store.shapes import put

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_of_a_task_shows_its_last_lines_and_a_link_to_all(admin):
    # Given
    [id] = put(1)
    assert "Download all lines" not in page(admin, f"{TASKS}{id}/change/")
    task_logs.write(current(), [NewPiece(id, 1, "<b>first</b>\n"), NewPiece(id, 2, "second\n")], [])
    # When
    shown = page(admin, f"{TASKS}{id}/change/")
    # Then
    assert "&lt;b&gt;first&lt;/b&gt;\nsecond\n</pre>" in shown
    assert f'href="{TASKS}{id}/log/"' in shown and "Only the last lines" not in shown
    # And
    task_logs.write(current(), [NewPiece(id, 2, "x" * logs.PAGE + "\n"), NewPiece(id, 2, "last\n")], [])
    shown = page(admin, f"{TASKS}{id}/change/")
    assert task_logs.last_lines(current(), id, 5) == "last\n"
    assert task_logs.last_lines(current(), id, logs.PAGE).startswith("xxx")
    assert "Only the last lines are shown." in shown and "second" not in shown and "last\n</pre>" in shown


def test_all_lines_can_be_downloaded_by_those_who_may_see_the_task(admin, staff):
    # Given
    [id] = put(1)
    task_logs.write(current(), [NewPiece(id, 1, "Zürich\n")], [])
    # When
    response = admin.get(f"{TASKS}{id}/log/")
    # Then
    assert response.content.decode() == "Zürich\n"
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{id}.log"'
    assert staff("view_taskrecord").get(f"{TASKS}{id}/log/").status_code == 200
    assert staff("view_worker").get(f"{TASKS}{id}/log/").status_code == 403
    assert admin.get(f"{TASKS}{new_id()}/log/").status_code == 404
    assert admin.get(f"{TASKS}nonsense/log/").status_code == 404
