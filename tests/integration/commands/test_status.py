"""``manage.py autotask status``."""

import json
import re
import signal

import pytest
from django.db import connection

from autotask.store.connection import execute
from tests.integration.commands.command import manage, sign_on, start
from tests.integration.commands.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def test_status_shows_queues_and_workers_in_columns():
    # Given
    add(1, 2)
    add.using(delay=60)(1, 2)
    add.using(queue="mail")(1, 2).cancel()
    sign_on(("default", "mail"))

    # When
    shown = manage("status")

    # Then
    assert shown.code == 0
    assert re.search(r"^QUEUE +SCHEDULED +HELD +READY +RUNNING +OLDEST WAIT$", shown.out, re.M)
    assert re.search(r"^default +1 +0 +1 +0 +\d\.\d s$", shown.out, re.M)
    assert "Finished in the last hour: 0 done, 0 error, 1 cancelled\n" in shown.out
    assert "Per minute, in the last 5 whole minutes: 0.0 started, 0.0 ended, 0.0 failed\n" in shown.out
    assert re.search(r"^ +7  elsewhere  worker +-  default,mail +3 +0 +\d\.\d s ago  alive$", shown.out, re.M)


def test_status_says_so_when_there_is_nothing():
    shown = manage("status").out
    assert "No tasks wait or run.\n" in shown and "None are registered." in shown


def test_status_as_json_has_the_documented_keys():
    # Given
    add(1, 2)
    sign_on(("mail", "-slow"))

    # When
    shown = manage("status", "--json").json

    # Then
    assert list(shown) == [
        *("at", "queues", "ended", "per_minute", "workers", "limits", "rates", "paused_tasks", "paused_queues"),
        *("pauses", "paused_schedules"),
    ]
    [queue], [worker] = shown["queues"], shown["workers"]
    assert list(queue) == ["queue", "scheduled", "ready", "running", "held", "oldest_wait_seconds"]
    assert (queue["queue"], queue["ready"]) == ("default", 1)
    assert shown["ended"] == {"seconds": 3600, "done": 0, "error": 0, "cancelled": 0}
    assert (worker["pid"], worker["queues"], worker["exclude_queues"]) == (7, ["mail"], ["slow"])
    assert (worker["alive"], worker["stopping"], worker["running"]) == (True, False, 0)


def test_status_looks_again_and_again_also_when_a_connection_breaks():
    watching = start("autotask", "status", "--json", "--interval", "0.1")
    try:
        # Given: one document a line
        first = json.loads(watching.stdout.readline())

        # When
        broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        execute(connection, broken + " AND pid <> pg_backend_pid()")
        complaint = watching.stderr.readline()

        # Then
        second = json.loads(watching.stdout.readline())
        assert first["at"] < second["at"]
        assert complaint.startswith("The database is not available: ")
    finally:
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error():
    watching = start("autotask", "status", "--interval", "0.1")
    watching.stdout.readline()
    watching.stdout.close()
    watching.stdout = None
    _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")
