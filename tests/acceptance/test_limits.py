"""Companions whose tasks do not stop, or take their processes along: what ends, what starts anew, and what is kept."""

import os
import signal

import psutil
import pytest

from autotask.store.connection import rows
from autotask.task import State
from tests.acceptance import processes
from tests.acceptance.site import BEYOND_GRACE, GRACE, START
from tests.helpers import LONG, wait_until

#: An app whose tasks do not stop, and which has workers give them up soon.
HASTY = {
    "__init__": "from autotask.worker import watch\n\nwatch.STOP_WITHIN = 0.5\n",
    "tasks": """
import os
import time
from collections import deque
from itertools import repeat
from pathlib import Path

from django.contrib.contenttypes.models import ContentType

from autotask.tasks import delayed_task


@delayed_task(timeout=0.5)
def hang(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


@delayed_task(executor="process")
def hold_the_gil(file):
    Path(file).write_text(str(os.getpid()))
    deque(repeat(None), maxlen=0)


@delayed_task(executor="process")
def sleep(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


@delayed_task(executor="process", atomic=True)
def count_rows():
    return ContentType.objects.count(), os.getpid()


@delayed_task
async def dawdle(file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)
""",
}


@pytest.fixture
def file(tmp_path):
    """A file into which a task writes its process id."""
    return tmp_path / "pid"


def written(path):
    return wait_until(lambda: path.exists() and path.read_text(), what="the start of the task")


def test_a_worker_with_a_hung_task_makes_way_for_another_one_at_once(site, file, tmp_path):
    # Given
    site.app("hasty", **HASTY)
    server = site.runserver("--noreload")
    companion = site.companion(server)
    sign = tmp_path / "sign"
    sibling = server.call("wait_for", str(sign))
    wait_until(lambda: site.task(sibling).state is State.RUNNING, what="the start of the sibling")

    # When
    hung = server.call("hasty.tasks.hang", str(file))

    # Then: the task has ended before the worker
    task = wait_until(lambda: site.has_ended(hung))
    assert (task.state, task.error_message) == (State.ERROR, "timed out after 0.5 s")
    assert processes.is_alive(companion.worker)

    # Then: the sibling comes to its end, and then there is another worker
    wait_until(lambda: any(worker.stopping for worker in site.registered()), what="a worker that makes way")
    sign.touch()
    site.wait_for_end(sibling)
    wait_until(lambda: not processes.is_alive(companion.worker))
    successor = site.companion(server, other_than=companion)
    assert successor.guard == companion.guard
    assert site.result(site.wait_for_end(server.call("who"))) == successor.worker
    assert site.task(sibling).attempt == 1
    assert not server.lines("the worker ended")


@pytest.mark.skipif(not LONG, reason="like a hung task in a thread, of which there is a test")
def test_a_worker_whose_event_loop_is_blocked_makes_way_too(site, file):
    # Given
    site.app("hasty", **HASTY)
    server = site.runserver("--noreload", TIMEOUT=0.5)
    companion = site.companion(server)

    # When
    blocking = server.call("hasty.tasks.dawdle", str(file))

    # Then
    task = wait_until(lambda: site.has_ended(blocking))
    assert (task.state, task.error_message) == (State.ERROR, "timed out after 0.5 s")
    site.companion(server, other_than=companion)


@pytest.mark.parametrize("who", ["worker", "guard", "django"] if LONG else ["worker", "django"])
def test_no_process_of_a_task_outlives_its_worker(site, tmp_path, who):
    # Given
    site.app("hasty", **HASTY)
    server = site.runserver("--noreload", PROCESSES=2)
    companion = site.companion(server)
    children = []
    for name in ("sleep", "hold_the_gil"):
        server.call(f"hasty.tasks.{name}", str(tmp_path / name))
        children.append(int(written(tmp_path / name)))
    assert {psutil.Process(child).ppid() for child in children} == {companion.worker}

    # When
    os.kill(getattr(companion, who), signal.SIGKILL)

    # Then
    most = BEYOND_GRACE + (GRACE if who == "django" else 1.0)
    wait_until(lambda: not any(map(processes.is_alive, children)), most, "the end of the processes")


def test_a_task_in_a_process_uses_the_database(site):
    # Given
    site.app("hasty", **HASTY)
    server = site.runserver("--noreload")
    companion = site.companion(server)

    # When
    count, pid = site.result(site.wait_for_end(server.call("hasty.tasks.count_rows")))

    # Then
    assert count > 0
    assert psutil.Process(pid).ppid() == companion.worker


def test_a_second_request_to_stop_is_obeyed_at_once(site, tmp_path):
    # Given
    server = site.runserver("--noreload", SHUTDOWN_GRACE=60)
    companion = site.companion(server)
    diary = tmp_path / "diary"
    id = server.call("work", 30.0, str(diary))
    wait_until(diary.exists)

    # When: as a service manager does, all processes are told at once
    for pid in (companion.worker, companion.guard):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: any(worker.stopping for worker in site.registered()))
    assert site.task(id).state is State.RUNNING

    # When
    os.kill(companion.guard, signal.SIGTERM)

    # Then
    wait_until(lambda: not processes.is_alive(companion.guard), 1.0 + BEYOND_GRACE)
    assert not processes.is_alive(companion.worker)
    task = site.task(id)
    assert (task.state, task.attempt) == (State.READY, 0)


def test_a_dedicated_worker_that_recycles_itself_says_so_by_its_exit_status(site, file):
    # Given
    site.app("hasty", **HASTY)
    server = site.runserver("--noreload", COMPANION="off")
    worker = site.worker()
    wait_until(site.registered)

    # When
    server.call("hasty.tasks.hang", str(file))

    # Then
    assert worker.wait(20) == 75


def test_an_idle_companion_holds_two_connections(site):
    # Given
    server = site.runserver("--noreload")
    site.companion(server)

    # Then
    sessions = (
        "SELECT application_name FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name LIKE 'autotask %' ORDER BY 1"
    )
    two = [("autotask claim",), ("autotask services",)]
    wait_until(lambda: rows(site.database, sessions) == two, START, "the two connections")
