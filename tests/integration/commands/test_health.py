"""``manage.py autotask health``."""

import socket

import pytest

from tests.integration.commands.command import manage, process
from tests.integration.commands.tasks import add
from tests.integration.store.shapes import edit, sign_on

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_healthy_site_exits_with_0():
    sign_on()
    add(1, 2)
    shown = manage("health")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.splitlines()[:2] == [
        "ok   database: the database answers",
        "ok   workers: 1 worker alive, at least 1 needed",
    ]
    assert "ok   backlog: 1 task ready\n" in shown.out


def test_a_site_whose_tasks_wait_exits_with_3():
    # Given
    add(1, 2)
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes'")
    # When
    shown = manage("health", "--json")
    # Then
    assert (shown.code, shown.err) == (3, "Not healthy: workers, age.")
    assert shown.json["status"] == "failing"
    assert 120 <= shown.json["checks"]["age"]["seconds"] < 300
    # And with other bounds
    assert manage("health", "--max-age", "5m", "--min-workers", "0").code == 0
    assert manage("health", "--max-age", "5m", "--min-workers", "0", "--max-backlog", "0").code == 3


def test_a_container_asks_for_its_own_workers_only():
    # Given
    add(1, 2)
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '1 day'")
    sign_on()
    # Then
    assert manage("health", "--here").err == "Not healthy: workers."
    sign_on(host=socket.gethostname())
    assert manage("health", "--here").code == 0


@pytest.mark.usefixtures("_without_tables")
def test_before_migrate_a_site_is_not_healthy():
    shown = manage("health")
    assert (shown.code, shown.err) == (3, "Not healthy: database.")
    assert "migrate" in shown.out


def test_a_program_without_a_database_is_told_so():
    shown = process("autotask", "health", DATABASE_URL="postgres://nobody@127.0.0.1:1/nowhere")
    assert shown.code == 3
    assert shown.out.startswith("FAIL database: the database does not answer: OperationalError")
    assert shown.err == "CommandError: Not healthy: database.\n"


@pytest.mark.parametrize("words", [("--max-age", "soon"), ("--max-backlog", "-1"), ("--min-workers", "one")])
def test_a_bound_that_is_no_number_is_refused(words):
    shown = manage("health", *words)
    assert shown.code not in (0, 3) and f"{words[1]!r} is not a" in shown.err
