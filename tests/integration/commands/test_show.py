"""``manage.py autotask show``, and how a task is found by its id."""

import re
import uuid

import pytest
from django.db import connection

from autotask.management.subcommands import show
from autotask.store.connection import execute
from autotask.task import new_id
from tests.integration.commands.command import insert, manage
from tests.integration.commands.tasks import add, give_up, misbehave
from tests.integration.store.shapes import edit

pytestmark = pytest.mark.django_db(transaction=True)


def test_show_reads_the_last_attempts_only(monkeypatch):
    # Given
    handle = add(1, 1)
    execute(
        connection,
        """INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at, error_message, traceback)
        SELECT %s, number, number, 6, now(), 'error ' || number, 'traceback ' || number
        FROM generate_series(1, 25) AS number""",
        [handle.id],
    )
    execute(connection, "UPDATE autotask_task SET failures = 25")

    # Then
    shown = manage("show", handle.id).out
    assert "The last 20 attempts that did not succeed; there were earlier ones." in shown
    assert "traceback 25" in shown and "traceback 6\n" in shown and "traceback 5\n" not in shown
    document = manage("show", handle.id, "--json").json
    assert [attempt["number"] for attempt in document["attempts"]] == list(range(6, 26))
    assert handle.error_message == "error 25"
    assert len(handle.failed_attempts) == 25


def test_show_tells_everything_but_the_result(autotask_immediate):
    # Given
    handle = misbehave()

    # When
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json

    # Then
    assert re.search(r"^state +error$", shown.out, re.M)
    assert re.search(r"^attempts +1 started, 1 failed, 0 lost; 0 retries allowed$", shown.out, re.M)
    assert re.search(r"^Attempt 1: error, ran for \d\.\d s, ended \d", shown.out, re.M)
    assert "  Traceback (most recent call last):\n" in shown.out
    assert list(document) == [
        *("id", "name", "queue", "priority", "tags", "subject", "metadata", "status", "state", "arguments"),
        *("created_at", "run_at", "started_at", "ended_at", "kept_until", "result_expired"),
        *("attempt", "failures", "lost", "retries", "timeout", "executor", "scheduled_for"),
        *("expires_at", "at_most_once", "progress"),
        *("worker_id", "cancel_requested", "error_message"),
        *("unique_key", "gates", "gate", "notices", "settled_at", "reason", "why", "attempts"),
    ]
    [attempt] = document["attempts"]
    assert list(attempt) == [
        *("number", "state", "started_at", "ended_at", "error_type", "error_message", "traceback"),
    ]
    assert (document["status"], attempt["state"]) == ("error", "error")


@pytest.mark.parametrize(
    ("executor", "timeout", "words"),
    [("", None, ("thread", "4 h (AUTOTASK_TIMEOUT)")), ("process", 90.0, ("process", "1 min 30 s"))],
)
def test_show_tells_where_a_task_runs_and_how_long_it_may_take(executor, timeout, words):
    # Given
    handle = add.using(delay=60)(1, 2)
    edit("UPDATE autotask_task SET executor = %s, timeout = %s", (executor, timeout))

    # When
    shown, document = manage("show", handle.id).out, manage("show", handle.id, "--json").json

    # Then
    assert (document["executor"], document["timeout"]) == (executor or "thread", timeout)
    assert re.search(rf"^executor +{words[0]}$", shown, re.M)
    assert re.search(rf"^time limit +{re.escape(words[1])}$", shown, re.M)


def test_show_and_list_tell_how_far_a_task_has_come_and_why_it_was_cancelled(autotask_immediate):
    # Given
    handle = give_up(7)

    # Then
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json
    assert re.search(r"^progress +3/4 \(75%\)$", shown.out, re.M)
    assert re.search(r"^reason +nobody wants 7 any more$", shown.out, re.M)
    assert re.search(r"^attempts +1 started, 0 failed, 0 lost; at most once$", shown.out, re.M)
    assert document["progress"] == {"done": 3, "total": 4}
    assert (document["status"], document["error_message"]) == ("cancelled", "nobody wants 7 any more")
    assert document["at_most_once"] is True
    assert re.search(r" 3/4 .* nobody wants 7 any more$", manage("list").out, re.M)


def test_show_tells_when_a_task_expires():
    handle = add.using(expires=3600)(1, 2)
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json
    assert re.search(r"^expires +20\d\d-", shown.out, re.M)
    assert document["expires_at"] > document["run_at"]
    assert document["progress"] is None


def test_a_task_is_found_by_the_beginning_of_its_id():
    handle = add(1, 2)
    assert manage("show", handle.id.hex[:20].upper(), "--json").json["id"] == str(handle.id)
    assert manage("show", str(handle.id)[:30], "--json").json["id"] == str(handle.id)


def test_a_beginning_that_several_ids_have_is_refused():
    # Given
    one = new_id()
    insert(one)
    insert(uuid.UUID(int=one.int ^ 1))

    # When
    shown = manage("cancel", one.hex[:31])

    # Then
    assert (shown.code, shown.out) == (1, "")
    assert "several tasks" in shown.err


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
@pytest.mark.parametrize(
    "id", ["01930f3e", "0193b0a4-0000-7000-8000-000000000000", "nonsense", "1930f3e", "\x1b[2J", "0" * 33, ""]
)
def test_an_id_of_no_task_ends_with_4(command, id):
    shown = manage(command, id)
    assert (shown.code, shown.out) == (4, "")
    assert shown.err and "\x1b" not in shown.err


def test_show_prints_the_log_of_a_task_and_nothing_that_drives_a_terminal(settings, tmp_path):
    # Given
    handle = add(1, 1)
    assert "AUTOTASK_LOG_DIR is not set" in manage("show", handle.id, "--log").err
    settings.AUTOTASK_LOG_DIR = tmp_path
    assert f"no log file in {tmp_path}" in manage("show", handle.id, "--log").err
    assert manage("show", handle.id, "--log", "--json").json["log"] is None

    # When
    (tmp_path / f"{handle.id}.log").write_text("second \x1b[31m\n")
    (tmp_path / f"{handle.id}.log.1").write_text("first\n")

    # Then
    shown = manage("show", handle.id, "--log")
    assert shown.err == "" and shown.out.endswith(f"\nLog: {tmp_path / f'{handle.id}.log'}\n  first\n  second  [31m\n")
    assert manage("show", handle.id, "--log", "--json").json["log"] == "first\nsecond \x1b[31m\n"
    assert "log" not in manage("show", handle.id, "--json").json


def test_of_a_long_log_show_prints_the_end(settings, tmp_path, monkeypatch):
    # Given
    handle = add(1, 1)
    settings.AUTOTASK_LOG_DIR = tmp_path
    (tmp_path / f"{handle.id}.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    monkeypatch.setattr(show, "MOST_OF_LOG", 30)

    # Then
    out = manage("show", handle.id, "--log").out
    assert out.endswith(".log; earlier lines are left out\n  line 997\n  line 998\n  line 999\n")
