"""AUTOTASK_ALERTS: each incident is announced once, and once when it is over, whoever looks, sends or dies."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import translation

from autotask.notifications import delivery
from autotask.notifications.alerts import looking, sending, words
from autotask.statistics import Counts
from autotask.store import incidents, statistics, workers
from autotask.store.connection import current, execute
from autotask.store.statistics import Key
from autotask.worker import alerter
from autotask.worker.identity import make_identity
from tests.helpers import ROOT, environment, wait_until
from tests.integration.notifications import tasks
from tests.integration.store.shapes import edit
from tests.programs import Program

pytestmark = pytest.mark.django_db(transaction=True)

OPS = "ops@example.org"
WORKERS = [{"when": "workers", "to": OPS, "quiet": 0}]


@pytest.fixture(autouse=True)
def rules(settings):
    settings.AUTOTASK_ALERTS = WORKERS
    settings.EMAIL_SUBJECT_PREFIX = "[shop] "


def turn():
    """Look and send once, and return the subjects of all mails so far."""
    looking.look(current())
    assert sending.send_all() == []
    return [sent.subject for sent in mail.outbox]


def sign_on():
    """Have a running worker."""
    workers.sign_on(current(), make_identity(kind="test", serves_pid=None, queues=(), threads=1), 1000)


def sign_off():
    """Have none."""
    execute(current(), "DELETE FROM autotask_worker")


def age(seconds):
    """Make all incidents older."""
    execute(
        current(),
        """UPDATE autotask_incident SET began_at = began_at - s, due_at = due_at - s, seen_at = seen_at - s,
           ended_at = ended_at - s, told_at = told_at - s FROM (SELECT %(seconds)s * interval '1 s' AS s) AS by""",
        {"seconds": seconds},
    )


def test_an_incident_is_announced_once_and_once_when_it_is_over():
    # Given, When, Then
    alert = "[shop] Alert: no worker is alive"
    assert turn() == [alert]
    assert turn() == [alert]
    sign_on()
    assert turn() == [alert, "[shop] Over: no worker is alive"]
    assert turn()[2:] == []
    assert [sent.to for sent in mail.outbox] == [[OPS], [OPS]]
    assert "Began: " in mail.outbox[0].body
    assert "Over: " in mail.outbox[1].body
    assert incidents.going_on(current()) == []


def test_the_next_incident_is_quiet_until_its_time_has_passed(settings):
    # Given
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": OPS, "quiet": 600}]
    turn()
    sign_on()
    assert len(turn()) == 2

    # When: one that is soon over
    sign_off()
    assert len(turn()) == 2
    sign_on()
    assert len(turn()) == 2

    # When: one that goes on
    sign_off()
    assert len(turn()) == 2
    age(601)

    # Then
    assert len(turn()) == 3


def test_each_kind_of_incident_is_found(settings):
    # Given
    settings.AUTOTASK_ALERTS = [
        {"when": "age", "seconds": 60, "to": OPS},
        {"when": "length", "tasks": 1, "queue": "default", "to": OPS},
        {"when": "failures", "share": 0.5, "to": OPS},
        {"when": "missed", "seconds": 60, "to": OPS},
    ]
    tasks.report("a")
    tasks.report("b")
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes'")
    minute = int(datetime.now(UTC).timestamp()) // 60 * 60
    counts = {
        Key(minute, "bad", "default"): Counts(succeeded=4, failed=6),
        Key(minute, "few", "default"): Counts(failed=9),
        Key(minute, "good", "default"): Counts(succeeded=10, failed=2),
    }
    statistics.add(current(), counts)
    late = datetime.now(UTC) - timedelta(minutes=5)
    execute(
        current(),
        """INSERT INTO autotask_schedule (name, task, spec, registered_at, next_tick, held, declared_at, paused_by)
           VALUES ('nightly', 'nightly', 'x', %(late)s, %(late)s, '', %(late)s, '')""",
        {"late": late},
    )

    # When
    new, over = looking.look(current())

    # Then
    assert over == []
    shown = "\n".join(sorted(new))
    assert len(new) == 4, shown
    assert "2 tasks ready in the queue default" in shown
    assert "bad: 6 of 10 tasks (60%) failed within 15 min" in shown
    assert "the schedule nightly has missed its tick of" in shown
    assert "the oldest ready task has waited 2 min" in shown


def test_workers_look_in_turns_and_one_of_them_sends(settings, start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(alerter, "EVERY", 0.2)
    settings.AUTOTASK_ALERTS = [{"when": "workers", "fewest": 3, "to": OPS, "quiet": 0}]
    start_worker()
    start_worker()

    # When, Then
    wait_until(lambda: mail.outbox, what="the alert")
    start_worker()
    wait_until(lambda: len(mail.outbox) == 2, what="the end of the alert")
    assert [sent.subject[:14] for sent in mail.outbox] == ["[shop] Alert: ", "[shop] Over: 2"]


def test_a_message_that_cannot_be_sent_is_tried_again_for_those_who_lack_it(settings, monkeypatch):
    # Given
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": [OPS, "other@example.org"], "quiet": 0}]
    looking.look(current())
    real, refused = sending._send_to, []

    def refuse(to, incident):
        if to == OPS and not refused:
            refused.append(to)
            raise OSError("the mail server is away")
        real(to, incident)

    monkeypatch.setattr(sending, "_send_to", refuse)

    # When, Then
    assert sending.send_all() == [f"{OPS}: OSError: the mail server is away"]
    assert [sent.to for sent in mail.outbox] == [["other@example.org"]]
    age(delivery.FIRST_WAIT)
    assert sending.send_all() == []
    assert [sent.to for sent in mail.outbox] == [["other@example.org"], [OPS]]


def test_a_recipient_that_cannot_be_reached_holds_up_no_other_incident(settings, start_worker, monkeypatch):
    # Given
    monkeypatch.setattr(alerter, "EVERY", 0.2)
    monkeypatch.setattr(delivery, "FIRST_WAIT", 600.0)
    away = "away@example.org"
    settings.AUTOTASK_ALERTS = [
        {"when": "workers", "fewest": 9, "to": away, "quiet": 0},
        {"when": "length", "queue": "nobody", "tasks": 1, "to": OPS, "quiet": 0},
    ]
    real, refused = sending._send_to, []

    def refuse(to, incident):
        if to == away:
            refused.append(to)
            raise OSError("the mail server is away")
        real(to, incident)

    monkeypatch.setattr(sending, "_send_to", refuse)
    start_worker(queues=("default",))
    wait_until(lambda: refused, what="the first try")

    # When
    tasks.report.using(queue="nobody").enqueue_many([("a",), ("b",)])

    # Then
    wait_until(lambda: mail.outbox, what="the alert about the queue")
    assert [sent.to for sent in mail.outbox] == [[OPS]]
    assert refused == [away]


def test_while_a_message_is_sent_no_transaction_is_open_and_nobody_else_sends_it(monkeypatch, other_connection):
    # Given
    looking.look(current())
    seen = []

    def look_about(to, incident):
        execute(other_connection, "SET lock_timeout = '500ms'")
        execute(other_connection, "UPDATE autotask_incident SET seen_at = seen_at")  # waits for no lock
        seen.append((current().in_atomic_block, incidents.claim(other_connection, [])))

    monkeypatch.setattr(sending, "_send_to", look_about)

    # When, Then
    assert sending.send_all() == []
    assert seen == [(False, None)]
    assert not incidents.are_pending(current())


def test_an_incident_may_end_while_its_message_is_sent(monkeypatch):
    # Given
    looking.look(current())

    def end(to, incident):
        sign_on()
        assert looking.look(current()) == ([], ["no worker is alive"])

    with monkeypatch.context() as patched:
        patched.setattr(sending, "_send_to", end)
        claimed = incidents.claim(current(), [])
        sending._send(claimed)

    # Then
    assert sending.send_all() == []
    assert [sent.subject for sent in mail.outbox] == ["[shop] Over: no worker is alive"]


def test_an_incident_that_newer_code_has_noted_is_shown_in_its_words():
    facts = {"when": "a rule that this version does not know"}
    incidents.note(current(), [incidents.Found("k", "r", "too many", facts, ["ann@example.com"], 600.0)], ["r"])
    [incident] = incidents.going_on(current())
    assert words.of_incident(incident) == "too many"


def test_an_incident_that_comes_back_while_its_end_is_announced_is_the_next_one():
    # Given: the message of its end is on its way
    found = [incidents.Found("k", "r", "too many", {}, ["ann@example.com"], 600.0)]
    incidents.note(current(), found, ["r"])
    incidents.sent(current(), incidents.claim(current(), []))
    incidents.note(current(), [], ["r"])
    claimed = incidents.claim(current(), [])
    assert claimed.is_of_end

    # When
    incidents.note(current(), found, ["r"])
    incidents.sent(current(), claimed)

    # Then: it is announced if it still goes on when the time to be quiet is over
    assert not incidents.are_pending(current())
    age(601)
    following = incidents.claim(current(), [])
    assert not following.is_of_end and following.ended_at is None
    assert following.to == ["ann@example.com"]
    incidents.sent(current(), following)
    incidents.note(current(), [], ["r"])
    assert incidents.claim(current(), []).is_of_end


def test_a_process_that_dies_between_two_recipients_repeats_no_message_that_it_has_noted(settings, monkeypatch):
    # Given
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": [OPS, "other@example.org"]}]
    looking.look(current())
    real = sending._send_to

    def die(to, incident):
        if to != OPS:
            raise KeyboardInterrupt
        real(to, incident)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(sending, "_send_to", die)
        sending.send_all()

    # When its time has passed
    assert sending.send_all() == []
    assert [sent.to for sent in mail.outbox] == [[OPS]]
    age(incidents.PATIENCE)
    assert incidents.are_pending(current())
    assert sending.send_all() == []

    # Then
    assert [sent.to for sent in mail.outbox] == [[OPS], ["other@example.org"]]
    assert not incidents.are_pending(current())


def test_one_that_was_thought_dead_notes_nothing_over_the_work_of_the_next_one():
    # Given
    looking.look(current())
    slow = incidents.claim(current(), [])
    age(incidents.PATIENCE)
    next_one = incidents.claim(current(), [])
    assert next_one.key == slow.key

    # When
    incidents.sent(current(), slow)

    # Then
    assert incidents.claim(current(), []) is None
    incidents.sent(current(), next_one)
    sign_on()
    looking.look(current())
    assert incidents.claim(current(), []).is_of_end


def test_a_process_that_is_killed_while_it_sends_loses_no_message(tmp_path, post_office):
    # Given: a process that waits for the answer of the mail server
    release = post_office.hold()
    how = environment(
        DJANGO_SETTINGS_MODULE="tests.integration.notifications.app.settings",
        MAIL_PORT=str(post_office.port),
        AUTOTASK_ALERTS=json.dumps(WORKERS),
    )
    command = [sys.executable, "-m", "django", "autotask", "alerts"]
    first = Program(command, how, tmp_path, cwd=ROOT / "testproject")
    wait_until(lambda: post_office.held, 60, what="the first mail")

    # When
    first.kill()
    release.set()
    assert sending.send_all() == []
    age(incidents.PATIENCE)
    assert sending.send_all() == []

    # Then: the server was asked again, after a first time of which it may know nothing
    wait_until(lambda: post_office.mails, what="the mail")
    assert post_office.held == 2
    assert len({sent["Message-ID"] for sent in post_office.mails}) == 1
    assert sending.send_all() == []
    assert post_office.held == 2


@pytest.mark.parametrize(
    ("language", "alert", "over", "began"),
    [
        ("de", "[shop] Alarm: kein Worker lebt", "[shop] Vorbei: kein Worker lebt", "Begonnen: "),
        ("es", "[shop] Alerta: no hay ningún worker vivo", "[shop] Resuelto: no hay ningún worker vivo", "Comenzó: "),
    ],
)
def test_messages_are_in_the_language_of_the_site(settings, language, alert, over, began):
    settings.LANGUAGE_CODE = language
    with translation.override("en"):  # that of whoever runs the command
        turn()
        sign_on()
        assert turn() == [alert, over]
    assert began in mail.outbox[1].body and "Began" not in mail.outbox[1].body


def test_the_command_is_english_as_all_commands_whatever_the_language_of_the_site(settings, capsys):
    settings.LANGUAGE_CODE = "de"
    for arguments in ([], ["--json"]):
        with translation.override("de"), pytest.raises(CommandError):
            call_command("autotask", "alerts", *arguments)
        said = capsys.readouterr().out
        assert "no worker is alive" in said and "kein Worker" not in said
    assert "kein Worker lebt" in mail.outbox[0].subject


def test_the_command_announces_that_no_worker_lives_and_exits_with_3(capsys):
    with pytest.raises(CommandError) as caught:
        call_command("autotask", "alerts")
    assert caught.value.returncode == 3
    assert "no worker is alive" in capsys.readouterr().out
    assert len(mail.outbox) == 1
    sign_on()
    call_command("autotask", "alerts")
    assert len(mail.outbox) == 2


def test_failures_within_the_longest_window_are_counted_by_the_minute(settings):
    settings.AUTOTASK_ALERTS = [{"when": "failures", "share": 0.5, "window": timedelta(hours=3), "to": OPS}]
    earlier = int(datetime.now(UTC).timestamp()) // 60 * 60 - 3 * 3600 - 120
    statistics.add(current(), {Key(earlier, "bad", "default"): Counts(failed=20)})
    execute(current(), "UPDATE autotask_statistics SET at = now() WHERE period = 3600")
    assert looking.look(current()) == ([], [])


def test_a_webhook_gets_the_same(settings, monkeypatch):
    settings.AUTOTASK_ALERTS = [{"when": "workers", "to": "https://example.org/hook"}]
    called = []
    monkeypatch.setattr(sending.webhook, "post", lambda *args: called.append(args))
    looking.look(current())
    sending.send_all()
    [(url, secret, id, document)] = called
    assert (url, secret) == ("https://example.org/hook", None)
    assert id.startswith("msg_")
    assert (document["type"], document["data"]["text"]) == ("alert.began", "no worker is alive")
    assert document["data"]["ended_at"] is None


def test_the_overview_shows_incidents_that_go_on(admin_client):
    looking.look(current())
    page = admin_client.get("/admin/autotask/dashboard/")
    assert "no worker is alive" in page.content.decode()


def test_the_overview_shows_them_in_the_language_of_the_reader_and_mails_in_that_of_the_site(admin_client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.middleware.locale.LocaleMiddleware"]
    looking.look(current())
    with translation.override("en"):  # the middleware leaves the language of the request
        page = admin_client.get("/admin/autotask/dashboard/", headers={"Accept-Language": "de"})
    assert "kein Worker lebt" in page.content.decode()
    assert incidents.claim(current(), []).text == "no worker is alive"


def test_rules_that_were_removed_leave_nothing(settings):
    looking.look(current())
    settings.AUTOTASK_ALERTS = []
    assert len(incidents.going_on(current())) == 1
    age(2 * 86400)
    looking.look(current())
    assert incidents.going_on(current()) == []
