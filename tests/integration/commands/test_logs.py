"""``manage.py autotask logs``."""

import uuid

import pytest

from autotask.store import task_logs
from autotask.store.connection import current, execute
from tests.integration.commands.command import insert, manage, start

pytestmark = pytest.mark.django_db(transaction=True)

AT = "2026-11-29 06:00:02.871Z"


@pytest.fixture
def task_id(transactional_db):
    id = uuid.uuid4()
    insert(id)
    return id


def test_logs_prints_the_lines_of_a_task_or_of_an_attempt(task_id):
    task_logs.write(current(), [task_logs.alone(task_id, 1, "one\n  more\n"), task_logs.alone(task_id, 2, "two\n")])
    assert manage("logs", str(task_id)[:13]).out == "one\n  more\ntwo\n"
    assert manage("logs", task_id, "--attempt", 2).out == "two\n"


def test_logs_says_how_many_earlier_lines_are_missing(task_id):
    task_logs.write(current(), [task_logs.alone(task_id, 1, f"{AT} | 1 | INFO | shop - last\n", before=1_234)])
    expected = f"{AT} | 1 | WARNING | autotask.task - 1,234 earlier lines are not kept\n{AT} | 1 | INFO | shop - last\n"
    assert manage("logs", task_id).out == manage("logs", task_id, "--attempt", 1).out == expected


def test_follow_says_how_many_lines_are_missing_since_the_last_ones(task_id):
    # Given
    task_logs.write(current(), [task_logs.alone(task_id, 1, f"{AT} | 1 | INFO | shop - first\n")])
    following = start("autotask", "logs", str(task_id), "--follow")
    assert following.stdout.readline() == f"{AT} | 1 | INFO | shop - first\n"
    # When
    task_logs.write(current(), [task_logs.alone(task_id, 1, f"{AT} | 1 | INFO | shop - last\n", before=2)])
    # Then
    assert following.stdout.readline() == f"{AT} | 1 | WARNING | autotask.task - 1 earlier line is not kept\n"
    assert following.stdout.readline() == f"{AT} | 1 | INFO | shop - last\n"
    assert manage("cancel", task_id).code == 0
    assert following.communicate(timeout=60) == ("", "")


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("AUTOTASK_LOGS", None, "No lines are kept: AUTOTASK_LOGS is not set."),
        ("AUTOTASK_LOGS", {}, "The task has logged nothing that is kept."),
        ("AUTOTASK_LOG_DIR", "/nowhere", "There are no lines in the database; for its file: autotask show "),
    ],
)
def test_logs_says_why_there_are_none(task_id, settings, setting, value, said):
    setattr(settings, setting, value)
    shown = manage("logs", task_id)
    assert (shown.code, shown.out) == (0, "") and shown.err.startswith(said)


def test_a_task_that_does_not_exist_has_no_lines(transactional_db):
    assert manage("logs", uuid.uuid4()).code == 4


def test_follow_prints_the_lines_to_come_until_the_task_has_ended(task_id):
    # Given
    task_logs.write(current(), [task_logs.alone(task_id, 1, "one\n")])
    following = start("autotask", "logs", str(task_id), "--follow")
    assert following.stdout.readline() == "one\n"
    # When
    task_logs.write(current(), [task_logs.alone(task_id, 1, "two\n")])
    assert following.stdout.readline() == "two\n"
    assert manage("cancel", task_id).code == 0
    task_logs.write(current(), [task_logs.alone(task_id, 1, "three\n")])
    # Then
    out, err = following.communicate(timeout=60)
    assert (following.returncode, out, err) == (0, "three\n", "")


def test_follow_prints_what_another_worker_commits_later_than_a_piece_with_a_larger_id(task_id, other_connection):
    # Given: the first of two pieces is not committed yet
    execute(other_connection, "BEGIN")
    task_logs.write(other_connection, [task_logs.alone(task_id, 1, "one\n")])
    task_logs.write(current(), [task_logs.alone(task_id, 2, "two\n")])
    following = start("autotask", "logs", str(task_id), "--follow")
    assert following.stdout.readline() == "two\n"
    # When
    execute(other_connection, "COMMIT")
    # Then
    assert following.stdout.readline() == "one\n"
    assert manage("cancel", task_id).code == 0
    assert following.communicate(timeout=60) == ("", "")
