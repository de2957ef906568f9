"""Results by mail: through a real mail server, which may be away."""

import os
from datetime import timedelta

import pytest
from django.utils import timezone

from autotask.exceptions import InvalidOption
from autotask.handle import TaskHandle
from autotask.on_end import NoticeState
from autotask.store import prune, read
from autotask.store.connection import current, execute, rows
from autotask.task import CANCELLED, DONE, ERROR
from tests.helpers import ended, wait_until
from tests.integration.notifications import tasks
from tests.integration.notifications.told import deliveries, is_settled, settled, told

pytestmark = pytest.mark.django_db(transaction=True)

ANNA = "anna@example.org"


def the_mail(office, address=ANNA):
    """Wait for the mail to an address, and return it."""
    wait_until(lambda: office.to(address), what=f"a mail to {address}")
    (mail,) = office.to(address)
    return mail


def text(mail):
    return mail.get_body(("plain",)).get_content().replace("\r\n", "\n")


# --- the mail -------------------------------------------------------------------------------------------------------


def test_a_result_is_mailed_to_the_address_of_the_call(worker, post_office, settings):
    settings.AUTOTASK_MAIL_SUBJECT = "Отчёт готов"
    settings.AUTOTASK_MAIL_FROM = "Reports <reports@example.org>"

    handle = tasks.report.using(email=ANNA)("Готово: 7 страниц")

    mail = the_mail(post_office)
    assert text(mail).strip() == "Готово: 7 страниц"
    assert (mail["To"], mail["Subject"], mail["From"]) == (ANNA, "Отчёт готов", "Reports <reports@example.org>")
    assert mail["Message-ID"] == f"<{handle.id}@example.org>"
    (notice,) = settled(handle)
    assert (notice.state, notice.tries, notice.error) == (NoticeState.SENT, 1, "")


def test_each_address_gets_a_mail_of_its_own(worker, post_office):
    handle = tasks.report.using(email=[ANNA, "B+c@example.technology", ANNA])(5)

    assert [notice.to for notice in settled(handle)] == [ANNA, "B+c@example.technology"]
    assert sorted(post_office.recipients) == [["B+c@example.technology"], [ANNA]]


def test_a_definition_can_name_an_address_and_a_call_another_or_none(worker, post_office):
    first, second, third = tasks.always(1), tasks.always.using(email=ANNA)(2), tasks.always.using(email=[])(3)

    settled(first), settled(second)
    assert ended(third) is DONE
    assert [text(mail).strip() for mail in post_office.to("always@example.org")] == ["1"]
    assert [text(mail).strip() for mail in post_office.to(ANNA)] == ["2"]
    assert told(third) == []


@pytest.mark.parametrize(
    "value", [None, 5, "", {"a": 1}, ["x", "<b>"], {"result": 1}, {"file_path": 1, "result": 2, "c": 3}]
)
def test_a_result_is_mailed_as_its_text(worker, post_office, value):
    settled(tasks.report.using(email=ANNA)(value))

    assert text(the_mail(post_office)).strip() == str(value)


@pytest.mark.parametrize("task", [tasks.elsewhere, tasks.coroutine, tasks.atomic], ids=lambda task: task.name)
def test_a_result_is_mailed_wherever_the_task_runs(worker, post_office, task):
    settled(task.using(email=ANNA)("from there"))

    assert text(the_mail(post_office)).strip() == "from there"


def test_the_result_of_a_task_of_django_and_of_a_schedule_are_mailed(worker, post_office):
    first, second = tasks.of_django.enqueue("django"), tasks.hourly.run_now()

    settled(TaskHandle(first.id)), settled(second)
    assert sorted(text(mail).strip() for mail in post_office.to("always@example.org")) == ["django", "hourly"]


def test_a_file_is_attached_with_its_base_name_and_type(worker, post_office, tmp_path):
    path = tmp_path / "7.txt"
    path.write_text("строка\n", encoding="utf-8")

    settled(tasks.report.using(email=ANNA)({"result": "ready", "file_path": str(path)}))

    mail = the_mail(post_office)
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("7.txt", "text/plain")
    assert attached.get_content().splitlines() == ["строка"]
    assert text(mail).strip() == "ready"


def test_a_picture_and_a_strange_name_are_attached(worker, post_office, tmp_path):
    path = tmp_path / "отчёт\r\nBcc: x@example.org.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")

    settled(tasks.report.using(email=ANNA)({"result": 0, "file_path": path}))

    mail = the_mail(post_office)
    (attached,) = mail.iter_attachments()
    assert attached.get_filename() == "отчёт__Bcc: x@example.org.png"
    assert (attached.get_content_type(), attached.get_content()) == ("image/png", b"\x89PNG\r\n\x1a\n\0\xff")
    assert (text(mail).strip(), mail["Bcc"], post_office.recipients) == ("0", None, [[ANNA]])


def unreadable(tmp_path):
    return tmp_path / "gone.txt", "gone.txt is not attached: it could not be read: No such file"


def large(tmp_path):
    (tmp_path / "large.bin").write_bytes(b"x" * 1001)
    return tmp_path / "large.bin", "large.bin is not attached: it is larger than 1,000 bytes"


def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe", "pipe is not attached: it is not a file"


def number(tmp_path):
    return 7.5, "is not attached: its path is of type float, not a text"


@pytest.mark.parametrize("case", [unreadable, large, pipe, number])
def test_a_mail_says_why_a_file_is_not_attached(worker, post_office, settings, tmp_path, case):
    settings.AUTOTASK_MAIL_MAX = 1000
    path, said = case(tmp_path)

    settled(tasks.report.using(email=ANNA)({"result": "ready", "file_path": path}))

    mail = the_mail(post_office)
    assert list(mail.iter_attachments()) == []
    assert text(mail).startswith("ready\n")
    assert said in text(mail)


def test_without_a_path_nothing_is_attached_or_said(worker, post_office):
    settled(tasks.report.using(email=ANNA)({"result": "ready", "file_path": None}))

    assert text(the_mail(post_office)).strip() == "ready"


def test_a_failed_task_is_mailed_with_its_message_and_without_its_traceback(worker, post_office):
    handle = tasks.fail.using(email=ANNA)("плохо")

    assert ended(handle) is ERROR
    settled(handle)
    said = text(the_mail(post_office))
    assert "плохо" in said and "ValueError" in said
    assert "Traceback" not in said and "hunter2" not in said


def test_an_attempt_that_is_retried_is_not_mailed(worker, post_office, tmp_path):
    settled(tasks.fail_once.using(email=ANNA)(str(tmp_path / "flag")))

    assert text(the_mail(post_office)).strip() == "at last"


def test_the_templates_can_be_replaced(worker, post_office, settings, tmp_path):
    (tmp_path / "autotask" / "mail").mkdir(parents=True)
    (tmp_path / "autotask" / "mail" / "done.txt").write_text("{{ name }} says {{ text }}")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]

    settled(tasks.report.using(email=ANNA)("yes"))

    assert text(the_mail(post_office)) == f"{tasks.report.name} says yes\n"


# --- addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["no address", "", "a@b\nBcc: c@example.org", "a@example.org, b@example.org", "A <a@example.org>", "@x.y"],
)
def test_what_is_no_address_is_refused_at_the_call_and_nothing_is_stored(db, address):
    with pytest.raises(InvalidOption, match="email"):
        tasks.report.using(email=address)
    assert rows(current(), "SELECT count(*) FROM autotask_live WHERE name = %(name)s", {"name": tasks.report.name}) == [
        (0,)
    ]


# --- tries ----------------------------------------------------------------------------------------------------------


def test_a_mail_waits_for_a_server_that_is_away_and_the_result_is_kept_until_then(worker, post_office, impatient):
    post_office.close()
    handle = tasks.report.using(email=ANNA, ttl=0)("kept")
    wait_until(lambda: told(handle)[0].tries >= 3, what="three tries")
    (notice,) = told(handle)
    assert (notice.state, is_settled(handle)) == (NoticeState.WAITING, False)
    assert "refused" in notice.error.lower()
    prune.Pruning().piece(current())
    assert handle.status is DONE

    post_office.open()

    assert settled(handle)[0].state is NoticeState.SENT
    assert text(the_mail(post_office)).strip() == "kept"
    prune.Pruning().piece(current())
    assert read.task(current(), handle.id) is None


def test_a_mail_that_is_refused_again_and_again_is_given_up_and_the_others_are_sent(
    worker, post_office, settings, impatient
):
    settings.AUTOTASK_MAIL_TRIES = 3
    post_office.refusing.add("gone@example.org")

    handle = tasks.report.using(email=["gone@example.org", ANNA])(7)

    gone, sent = settled(handle)
    assert (gone.state, gone.tries, sent.state, sent.tries) == (NoticeState.GIVEN_UP, 3, NoticeState.SENT, 1)
    assert "no such mailbox" in gone.error
    assert len(post_office.to(ANNA)) == 1
    wait_until(lambda: deliveries() == [(4, 3)], what="the delivery ends in ERROR, after three attempts")


def test_a_delivery_that_has_given_up_can_be_retried(worker, post_office, settings, impatient):
    settings.AUTOTASK_MAIL_TRIES = 2
    post_office.refusing.add("gone@example.org")
    handle = tasks.report.using(email=["gone@example.org", ANNA], ttl=0)(7)
    assert settled(handle)[0].state is NoticeState.GIVEN_UP
    prune.Pruning().piece(current())  # what was given up is still there
    ((id,),) = rows(current(), "SELECT id FROM autotask_record WHERE name LIKE '%%delivery.deliver'")
    assert ended(TaskHandle(id)) is ERROR
    post_office.refusing.clear()

    TaskHandle(id).retry()

    wait_until(lambda: told(handle)[0].state is NoticeState.SENT, what="the mail that was given up")
    assert [len(post_office.to(address)) for address in ("gone@example.org", ANNA)] == [1, 1]
    wait_until(lambda: is_settled(handle), what="the end of it")
    assert ended(TaskHandle(id)) is DONE


def test_a_retried_task_starts_anew(worker, post_office, impatient, tmp_path):
    flag = tmp_path / "flag"
    handle = tasks.fail_unless.using(email=ANNA)(str(flag))
    settled(handle)
    flag.touch()

    handle.retry()

    assert settled(handle)[0].state is NoticeState.SENT
    wait_until(lambda: len(post_office.to(ANNA)) == 2, what="the second mail")
    failed, done = post_office.to(ANNA)
    assert "no flag" in text(failed) and text(done).strip() == "with a flag"
    assert failed["Message-ID"] != done["Message-ID"]


def test_a_task_that_is_retried_before_its_mail_was_out_gets_one_mail(worker, post_office, impatient, tmp_path):
    post_office.close()
    flag = tmp_path / "flag"
    handle = tasks.fail_unless.using(email=ANNA)(str(flag))
    assert ended(handle) is ERROR
    wait_until(lambda: told(handle)[0].tries, what="a first try")
    flag.touch()
    handle.retry()
    assert ended(handle) is DONE

    post_office.open()

    settled(handle)
    wait_until(lambda: {state for state, _ in deliveries()} == {3}, what="the end of both deliveries")
    assert text(the_mail(post_office)).strip() == "with a flag"


def test_a_cancelled_task_is_mailed_with_the_reason_if_there_is_one(start_worker, post_office, settings):
    settings.AUTOTASK_LEASE = 0.5
    handle = tasks.report.using(email=ANNA, delay=3600)(5)
    late = tasks.report.using(email="ben@example.org", expires=timezone.now() - timedelta(seconds=1))(5)

    handle.cancel()
    start_worker()

    assert handle.status is CANCELLED
    said = f"The task {handle.name} was cancelled, so it has no result."
    assert text(the_mail(post_office)).strip() == said
    assert ended(late) is CANCELLED
    assert text(the_mail(post_office, "ben@example.org")).strip().startswith(f"{said}\n\nexpired: ")


def test_a_delivery_that_was_cancelled_is_not_repeated_and_says_so(start_worker, post_office, settings):
    settings.AUTOTASK_LEASE = 0.5
    post_office.close()
    start_worker()
    handle = tasks.report.using(email=ANNA)(5)
    wait_until(lambda: told(handle)[0].tries, what="a first try")

    ((delivery,),) = rows(current(), "SELECT id FROM autotask_live WHERE name LIKE '%%delivery.deliver'")
    wait_until(lambda: TaskHandle(delivery).status == "waiting", what="the wait until the next try")
    TaskHandle(delivery).cancel()

    (notice,) = settled(handle)
    assert (notice.state, notice.error) == (NoticeState.GIVEN_UP, "its delivery was cancelled")


def test_a_delivery_that_is_lost_is_made_up_for(start_worker, post_office, settings):
    settings.AUTOTASK_LEASE = 0.5
    post_office.close()
    start_worker()
    handle = tasks.report.using(email=ANNA)(5)
    wait_until(lambda: told(handle)[0].tries, what="a first try")

    wait_until(
        lambda: execute(current(), "DELETE FROM autotask_task WHERE name LIKE '%%delivery.deliver' AND state = 0"),
        what="somebody deletes it",
    )
    post_office.open()

    assert settled(handle)[0].state is NoticeState.SENT


# --- no cost for others -----------------------------------------------------------------------------------------------


def test_a_task_that_tells_nobody_leaves_no_trace(worker):
    handle = tasks.report(5)

    assert ended(handle) is DONE
    task = read.task(current(), handle.id)
    assert (task.on_end, task.notices, task.settled_at) == (None, None, None)
