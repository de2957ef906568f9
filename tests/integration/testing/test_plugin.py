"""The plugin of pytest and the mixin for real workers."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from django.core import mail
from django.db import connection, transaction
from django.test import TransactionTestCase

from autotask.exceptions import RunInTransaction, WorkerDidNotStart
from autotask.store import read
from autotask.store.connection import current
from autotask.task import DONE
from autotask.testing import CapturedTasksMixin, WorkerMixin, worker_process
from tests.helpers import ROOT, wait_until
from tests.integration.testing import tasks
from tests.integration.testing.unloadable import Unloadable


@pytest.mark.autotask
@pytest.mark.django_db
def test_the_marker_runs_tasks_at_once():
    assert tasks.add(1, 2).result == 3


@pytest.mark.autotask("captured")
@pytest.mark.django_db
def test_the_marker_notes_tasks(autotask_captured, autotask_run_pending):
    tasks.add(1)
    assert autotask_run_pending() == [autotask_captured[0].handle]


PROJECT = """
import sys
import pytest

{before}

def test_it(request):
    assert "django" not in sys.modules
    assert "autotask" not in " ".join(request.fixturenames).replace("_autotask_marker", "")
"""


def _pytest(folder: Path, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a project that has nothing but this plugin."""
    (folder / "test_project.py").write_text(text)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:django", "-p", "autotask.pytest_plugin", "--strict-markers", *words],
        **{"cwd": folder, "env": {**environment, "PYTHONPATH": str(ROOT)}, "capture_output": True, "text": True},
        timeout=60,
    )


def test_a_project_without_django_is_left_in_peace(tmp_path):
    ended = _pytest(tmp_path, PROJECT.format(before=""))
    assert "1 passed" in ended.stdout, ended.stdout + ended.stderr


def test_a_wrong_marker_is_an_error(tmp_path):
    ended = _pytest(tmp_path, PROJECT.format(before="pytestmark = pytest.mark.autotask('imediate')"), "--markers")
    assert "@pytest.mark.autotask(mode=" in ended.stdout
    ended = _pytest(tmp_path, PROJECT.format(before="pytestmark = pytest.mark.autotask('imediate')"))
    assert "the mode must be one of immediate, captured, worker" in ended.stdout


# --- a real worker ----------------------------------------------------------------------------------------------------


def test_a_worker_runs_the_tasks_of_the_test_database(autotask_worker):
    # When
    name, pid = tasks.where_it_runs().wait(30)

    # Then
    assert name == connection.settings_dict["NAME"]
    assert pid == autotask_worker.pid
    assert [worker.pid for worker in read.workers(current())] == [pid]


@pytest.mark.django_db(transaction=True)
def test_a_worker_has_the_settings_of_the_test_and_so_have_its_child_processes(settings):
    settings.AUTOTASK_RETRY_DELAY = 7.5
    with worker_process(queues=["default"]):
        found = tasks.settings_there("AUTOTASK_RETRY_DELAY", "DEBUG", "ROOT_URLCONF").wait(30)
        assert found == [7.5, False, "testproject.urls"]
        assert tasks.where_it_runs_beside().wait(30)[0] == connection.settings_dict["NAME"]
        assert tasks.send_mail().wait(30) == 1
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_a_worker():
    with worker_process() as worker:
        assert psutil.pid_exists(worker.pid)
    assert not psutil.pid_exists(worker.pid)
    assert read.workers(current()) == []


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_does_not_start_says_why(settings):
    settings.SECRET_KEY_FALLBACKS = [Unloadable()]
    with pytest.raises(WorkerDidNotStart, match="not in another process"), worker_process():
        pytest.fail("It has started.")


@pytest.mark.django_db
def test_a_worker_for_what_is_never_committed_is_refused():
    with pytest.raises(RunInTransaction, match="TransactionTestCase"), worker_process():
        pytest.fail("It has started.")


def test_nothing_is_started_for_a_server_of_tests_unless_asked(live_server):
    with transaction.atomic():
        handle = tasks.add(1)
    mine = psutil.Process().children(recursive=True)
    assert [process for process in mine if "-m autotask" in " ".join(process.cmdline())] == []
    assert handle.status is not DONE


class WorkerTest(WorkerMixin, CapturedTasksMixin, TransactionTestCase):
    worker_queues = ("sums",)

    def test_the_mixin_has_a_worker_for_its_queues(self):
        other, handle = tasks.add(1), tasks.add.using(queue="sums")(1, 2)
        self.assertEqual(handle.wait(30), 3)
        self.assertFalse(other.ready)
        self.assert_enqueued(tasks.add, queue="sums")
        wait_until(lambda: "started" in self.worker.output)
