"""Notices in the admin, on the command line and in documents."""

import io
import json

import pytest
from django.core.management import call_command

from tests.integration.admin.pages import page, page_of
from tests.integration.notifications import tasks
from tests.integration.notifications.told import settled

pytestmark = pytest.mark.django_db(transaction=True)


def show(handle, *words):
    out = io.StringIO()
    call_command("autotask", "show", str(handle.id), *words, stdout=out)
    return out.getvalue()


def test_a_live_task_shows_whom_its_end_is_reported_to(db, admin_client):
    handle = tasks.report.using(email="anna@example.org", delay=60)(5)

    assert "mail to anna@example.org: planned" in show(handle)
    shown = page(admin_client, page_of(handle))
    assert "Notices" in shown and "anna@example.org" in shown and ">when it ends</span>" in shown


def test_a_task_without_notices_shows_nothing_of_them(db, admin_client):
    handle = tasks.report.using(delay=60)(5)

    assert "notices" not in show(handle)
    assert "Notices" not in page(admin_client, page_of(handle))
    document = json.loads(show(handle, "--json"))
    assert (document["notices"], document["settled_at"]) == ([], None)


def test_a_notice_that_was_given_up_is_shown_with_its_error(worker, post_office, settings, admin_client):
    settings.AUTOTASK_MAIL_TRIES = 1
    post_office.refusing.add("gone@example.org")
    handle = tasks.report.using(email=["gone@example.org", "anna@example.org"])(5)
    settled(handle)

    said = show(handle)
    assert "mail to gone@example.org: given up, 1 try: SMTPRecipientsRefused" in said
    assert "mail to anna@example.org: sent, 1 try" in said
    shown = page(admin_client, page_of(handle))
    assert ">given up</span>" in shown and ">sent</span>" in shown and "no such mailbox" in shown
    gone, sent = json.loads(show(handle, "--json"))["notices"]
    assert (gone["kind"], gone["to"], gone["state"], gone["tries"]) == ("mail", "gone@example.org", "given up", 1)
    assert sent == {
        "kind": "mail",
        "to": "anna@example.org",
        "state": "sent",
        "tries": 1,
        "at": sent["at"],
        "error": "",
    }
    assert json.loads(show(handle, "--json"))["settled_at"]
