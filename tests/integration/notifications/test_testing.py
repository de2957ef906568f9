"""Notices in the tests of sites: mails are in the outbox, as after any mail that a test sends."""

import pytest
from django.core import mail

from autotask.on_end import NoticeState
from autotask.task import DONE
from autotask.testing import captured_tasks, immediate
from tests.integration.notifications import tasks
from tests.integration.notifications.post_office import settings_for
from tests.integration.notifications.told import deliveries, told

pytestmark = pytest.mark.django_db

ANNA = "anna@example.org"


def test_a_task_that_runs_at_its_call_is_mailed():
    with immediate():
        handle = tasks.report.using(email=ANNA)("at once")

    assert handle.status is DONE
    assert [(sent.to, sent.body.strip()) for sent in mail.outbox] == [([ANNA], "at once")]
    assert told(handle)[0].state is NoticeState.SENT


def test_captured_tasks_are_mailed_when_they_end(tmp_path):
    with captured_tasks() as captured:
        tasks.report.using(email=ANNA)("later")
        tasks.fail_once.using(email=ANNA)(str(tmp_path / "flag"))
        captured.run_pending()
        captured.drain()

    assert [sent.body.strip() for sent in mail.outbox] == ["later", "at last"]
    assert len(captured) == 2


def test_a_mail_that_cannot_be_sent_waits(settings):
    for name, value in settings_for(port=1).items():
        setattr(settings, name, value)

    with immediate():
        handle = tasks.report.using(email=ANNA)("at once")

    assert handle.status is DONE
    assert told(handle)[0].state is NoticeState.WAITING
    assert [attempt for _, attempt in deliveries()] == [1]
