"""The pages of workers."""

import re
from datetime import timedelta

from django.utils import timezone

from autotask.models import Worker
from tests.helpers import wait_until
from tests.integration.admin.pages import TASKS, WORKERS, page, page_of, registered
from tests.integration.held import hold
from tests.integration.store.shapes import let_run, put


def test_workers_are_listed_with_what_they_run(admin, running):
    # Given
    row = Worker.objects.get()

    # Then: one task, as soon as those of the schedules have ended
    one = re.compile(r'<td class="field-running"><span class="autotask-label" aria-hidden="true">running</span>1</td>')
    wait_until(lambda: one.search(page(admin, WORKERS)), what="one running task")
    assert ">alive</span>" in page(admin, WORKERS)
    assert page_of(running) in page(admin, f"{WORKERS}{row.pk}/change/")
    assert str(row) in page(admin, page_of(running))


def test_a_user_who_may_not_see_tasks_gets_the_names_of_running_ones_without_links(staff):
    # Given
    worker, [running] = registered(), put()
    let_run(running, worker=worker.pk)
    shown = page(staff("view_worker"), f"{WORKERS}{worker.pk}/change/")

    # Then
    assert 'class="autotask-tasks"' in shown and TASKS not in shown
    assert f"{TASKS}{running}/change/" in page(staff("view_worker", "view_taskrecord"), f"{WORKERS}{worker.pk}/change/")


def test_a_worker_that_no_longer_reports_is_marked(admin):
    # Given
    past = timezone.now() - timedelta(minutes=4)
    registered(host="alive-1")
    registered(host="lost-1", seen_at=past, lease_until=past)

    # When
    alive, lost = re.findall(r"<tr>.*?-1:4711.*?</tr>", page(admin, WORKERS).split("<tbody>")[1], re.S)

    # Then
    assert ">alive</span>" in alive
    assert ">lost</span>" in lost and "other workers rescue its tasks" in lost
    assert "4 min" in lost


def test_lists_say_that_no_worker_is_alive(admin):
    words = "No worker is alive. Start the site, or a worker: python manage.py autotask worker"
    assert words in page(admin, WORKERS)
    assert "worker is alive" not in page(admin, TASKS)
    hold(queue="mail")
    assert "Tasks wait, and no worker is alive." in page(admin, TASKS)
    registered(queues="reports")
    assert "Tasks wait in queues that no running worker serves: mail." in page(admin, TASKS)
