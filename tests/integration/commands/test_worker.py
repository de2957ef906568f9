"""``manage.py autotask worker``."""

import os

import pytest
from django.db import connection, transaction

from autotask.management.subcommands import worker as worker_command
from autotask.store.connection import execute
from autotask.task import DONE
from autotask.tasks import delayed_task
from tests.helpers import environment, wait_until
from tests.integration.commands.command import manage, process, start

pytestmark = pytest.mark.django_db(transaction=True)


def test_worker_passes_its_options_on_and_marks_its_process(monkeypatch, settings):
    # Given
    settings.AUTOTASK_THREADS = 9
    seen = []

    def run_worker(options):
        seen.append((options, os.environ["AUTOTASK_WORKER"]))
        return 0

    monkeypatch.setattr(worker_command, "run_worker", run_worker)

    # When
    assert manage("worker", "--queues", "a,b", "--exclude-queues", "b", "--threads", "2", "--burst").code == 0
    assert manage("worker").code == 0

    # Then
    (asked, mark), (default, _) = seen
    assert (asked.kind, asked.queues, asked.exclude_queues) == ("worker", ("a", "b"), ("b",))
    assert (asked.threads, asked.burst, mark) == (2, True, str(os.getpid()))
    assert (default.threads, default.queues, default.burst) == (9, (), False)


def test_worker_refuses_to_serve_nothing():
    assert manage("worker", "--queues", "a", "--exclude-queues", "a,b").code == 2


def test_worker_refuses_to_reload_and_to_end():
    shown = manage("worker", "--reload", "--burst")
    assert shown.code == 2 and "choose one" in shown.err


def test_worker_refuses_to_start_where_the_checks_find_an_error(settings):
    settings.AUTOTASK_LEASE = 1
    shown = manage("worker", "--burst")
    assert shown.code == 1 and "autotask.E006" in shown.err


def test_a_burst_without_tables_ends_at_once_with_the_command_that_helps():
    with transaction.atomic():
        execute(connection, "SET LOCAL search_path TO pg_catalog")
        shown = manage("worker", "--burst")
    assert shown.code == 1
    assert shown.err.rstrip().endswith("Run: python manage.py migrate autotask")


@pytest.mark.parametrize("wrong", ["database", "role"])
def test_a_burst_whose_login_is_refused_ends_with_the_words_of_the_server(wrong):
    url = environment()["DATABASE_URL"]
    at, name = {"database": ("/{NAME}?", "/no_such_database?"), "role": ("//{USER}", "//no_such_role")}[wrong]
    url = url.replace(at.format(**connection.settings_dict), name)
    assert "no_such" in url
    ended = process("autotask", "worker", "--burst", "--settings", "testproject.settings", DATABASE_URL=url)
    assert ended.code == 1
    assert f'{wrong} "no_such_{wrong}" does not exist' in ended.err
    assert "will try again" not in ended.err


def test_worker_runs_what_is_there_and_ends_with_burst():
    # Given
    handle = delayed_task(name="demo.tasks.take_note")(lambda topic, text: None)("one", "two")

    # When
    ended = process("autotask", "worker", "--burst", "--settings", "testproject.settings")

    # Then
    assert ended.code == 0, ended.err
    assert handle.status == DONE
    assert ended.out == ""


def test_worker_stops_when_it_is_told_to():
    started = start("autotask", "worker", "--exclude-queues", "slow")
    try:
        [worker] = wait_until(lambda: manage("status", "--json").json["workers"])
        assert (worker["pid"], worker["kind"], worker["exclude_queues"]) == (started.pid, "worker", ["slow"])
    finally:
        started.terminate()
        started.communicate(timeout=30)
    assert started.returncode == 0
    assert manage("status", "--json").json["workers"] == []
