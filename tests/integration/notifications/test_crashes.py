"""Mails of workers that are killed: none is lost."""

import sys

import pytest

from autotask.store import notices
from autotask.store.connection import current, execute, rows
from autotask.task import DONE
from tests.helpers import ROOT, ended, environment, wait_until
from tests.integration.notifications import tasks
from tests.integration.notifications.told import deliveries, is_settled, settled, told
from tests.programs import Program

pytestmark = pytest.mark.django_db(transaction=True)

ANNA = "anna@example.org"

END_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


@pytest.fixture
def start(tmp_path, post_office):
    """Start a worker in a process of its own; it is killed at the end."""
    started = []

    def start() -> Program:
        settings = "tests.integration.notifications.app.settings"
        how = environment(DJANGO_SETTINGS_MODULE=settings, MAIL_PORT=str(post_office.port), AUTOTASK_HEARTBEAT="0.2")
        command = [sys.executable, "-m", "django", "autotask", "worker"]
        started.append(Program(command, how, tmp_path, cwd=ROOT / "testproject"))
        return started[-1]

    yield start
    for program in started:
        program.kill()


def test_a_worker_that_is_killed_between_the_end_and_the_mail_loses_no_mail(start, post_office):
    # Given: nobody answers the worker that sends the mail
    post_office.close()
    first = start()
    handle = tasks.report.using(email=ANNA, ttl=0)("not lost")
    assert ended(handle) is DONE
    wait_until(lambda: told(handle)[0].tries, what="a first try")

    # When
    first.kill()
    post_office.open()
    start()

    # Then
    settled(handle)
    assert [mail.get_content().strip() for mail in post_office.to(ANNA)] == ["not lost"]


def test_an_end_whose_delivery_was_never_made_is_found_by_the_next_worker(
    start, post_office, start_worker, monkeypatch
):
    # Given: a worker that ends the task and dies before it looks for notices
    with monkeypatch.context() as patched:
        patched.setattr(notices, "find", lambda connection: [])
        handle = tasks.report.using(email=ANNA)("found")
        start_worker(burst=True)
        assert ended(handle) is DONE
        assert deliveries() == [] and not is_settled(handle)

        # When
        start()

        # Then
        settled(handle)
    assert len(post_office.to(ANNA)) == 1


def test_a_worker_that_dies_between_the_mail_and_its_note_sends_it_again(start, post_office, other_connection):
    # Given: the note of the mail waits for a lock
    worker = start()
    until = post_office.hold()
    handle = tasks.report.using(email=ANNA)("twice")
    wait_until(lambda: post_office.held, what="the mail on its way")
    execute(other_connection, "BEGIN")
    execute(other_connection, "SELECT 1 FROM autotask_result WHERE id = %(id)s FOR UPDATE", {"id": handle.id})
    until.set()
    wait_until(lambda: post_office.to(ANNA), what="the mail")
    assert told(handle)[0].tries == 0

    # When
    worker.kill()
    wait_until(lambda: rows(current(), END_WAITING), what="the end of the session that would still write the note")
    execute(other_connection, "ROLLBACK")
    start()

    # Then
    settled(handle)
    first, second = post_office.to(ANNA)
    assert first["Message-ID"] == second["Message-ID"]
    assert str(handle.id) in first["Message-ID"]
