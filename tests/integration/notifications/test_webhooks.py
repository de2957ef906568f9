"""Webhooks: signed calls of a real web server, which may fail."""

import base64
import datetime

import pytest

from autotask.exceptions import InvalidOption
from autotask.on_end import NoticeState
from autotask.store import read
from autotask.store.connection import current
from autotask.task import CANCELLED, ERROR
from autotask.tasks import Webhook
from tests.helpers import ended, wait_until
from tests.integration.notifications import tasks
from tests.integration.notifications.receiver import Receiver
from tests.integration.notifications.told import deliveries, settled, told

standardwebhooks = pytest.importorskip("standardwebhooks")
pytest.importorskip("urllib3")

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "whsec_" + base64.b64encode(b"a secret that only tests know").decode()
OTHER = "whsec_" + base64.b64encode(b"another one that is as long").decode()


@pytest.fixture
def receiver(settings):
    """A web server that may be called."""
    server = Receiver()
    settings.AUTOTASK_WEBHOOK_HOSTS = [server.place]
    settings.AUTOTASK_WEBHOOK_SECRET = SECRET
    yield server
    server.close()


def call(receiver, secret=SECRET):
    """Return what the only call says, its signature verified as any receiver would do it."""
    ((headers, body),) = receiver.calls
    return standardwebhooks.Webhook(secret).verify(body, headers)


def test_a_result_is_posted_and_signed(worker, receiver):
    handle = tasks.report.using(on_end=Webhook(receiver.url()))({"n": [1, None, "ж"]})

    (notice,) = settled(handle)
    assert (notice.kind, notice.state, notice.tries) == ("webhook", NoticeState.SENT, 1)
    said = call(receiver)
    task = read.task(current(), handle.id)
    assert said == {
        "type": "task.done",
        "timestamp": task.ended_at.isoformat(),
        "data": {
            "id": str(handle.id),
            "name": tasks.report.name,
            "status": "done",
            "result": {"n": [1, None, "ж"]},
            "error": "",
            "created_at": task.created_at.isoformat(),
            "ended_at": task.ended_at.isoformat(),
        },
    }
    assert receiver.calls[0][0]["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (datetime.date(2026, 7, 1), {"result": "2026-07-01"}),
        (None, {"result": None}),
        ({1, 2}, {}),
        (float("nan"), {}),
        ({(1, 2): 3}, {}),
        ("x" * 200_000, {"result": "x" * 200_000}),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_result_that_json_cannot_hold_is_left_out(worker, receiver, value, said):
    settled(tasks.report.using(on_end=[Webhook(receiver.url())])(value))

    data = call(receiver)["data"]
    assert {name: data[name] for name in ("result",) if name in data} == said


def test_an_error_is_told_without_its_traceback(worker, receiver):
    handle = tasks.fail.using(on_end=Webhook(receiver.url()))("плохо")

    assert ended(handle) is ERROR
    settled(handle)
    said = call(receiver)
    assert (said["type"], said["data"]["status"], "result" in said["data"]) == ("task.error", "error", False)
    assert "плохо" in said["data"]["error"]
    assert b"hunter2" not in receiver.calls[0][1]


def test_a_cancelled_task_is_told_of(worker, receiver, settings):
    settings.AUTOTASK_LEASE = 0.5
    handle = tasks.report.using(on_end=Webhook(receiver.url()), delay=3600)(5)
    handle.cancel()

    assert handle.status is CANCELLED
    settled(handle)
    assert call(receiver)["type"] == "task.cancelled"


def test_only_the_chosen_ends_are_told(worker, receiver):
    handle = tasks.report.using(on_end=Webhook(receiver.url(), events=["error", "cancelled"]))(5)

    assert settled(handle)[0].state is NoticeState.NOT_NEEDED
    assert receiver.calls == [] and deliveries() == []


def test_a_webhook_that_fails_is_called_again_with_the_same_id(worker, receiver, impatient):
    receiver.answers = [(500, {}), (429, {}), (200, {})]

    (notice,) = settled(tasks.report.using(on_end=Webhook(receiver.url()))(5))

    assert (notice.state, notice.tries) == (NoticeState.SENT, 3)
    assert len({headers["webhook-id"] for headers, _ in receiver.calls}) == 1
    assert len({body for _, body in receiver.calls}) == 1
    for headers, body in receiver.calls:
        standardwebhooks.Webhook(SECRET).verify(body, headers)


def test_a_redirect_is_not_followed_and_counts_as_a_failure(worker, receiver, settings, impatient):
    settings.AUTOTASK_MAIL_TRIES = 2
    receiver.answers = [(302, {"Location": receiver.url("/elsewhere")})]

    (notice,) = settled(tasks.report.using(on_end=Webhook(receiver.url()))(5))

    assert (notice.state, notice.tries) == (NoticeState.GIVEN_UP, 2)
    assert "302" in notice.error
    assert all(body != b"GET" for _, body in receiver.calls) and len(receiver.calls) == 2


def test_a_webhook_can_have_a_secret_of_its_own_which_is_not_stored(worker, receiver, settings):
    settings.BILLING_SECRET = OTHER
    handle = tasks.report.using(on_end=Webhook(receiver.url(), secret="BILLING_SECRET"))(5)

    settled(handle)
    assert call(receiver, OTHER)["data"]["result"] == 5
    assert OTHER.removeprefix("whsec_") not in read.task(current(), handle.id).on_end


def test_while_a_secret_is_replaced_both_are_valid(worker, receiver, settings):
    settings.AUTOTASK_WEBHOOK_SECRET = [OTHER, SECRET]

    settled(tasks.report.using(on_end=Webhook(receiver.url()))(5))

    assert call(receiver, OTHER) == call(receiver, SECRET)


def test_without_a_secret_nothing_is_sent_and_the_secret_is_asked_for(worker, receiver, settings, impatient):
    settings.AUTOTASK_MAIL_TRIES = 1
    del settings.AUTOTASK_WEBHOOK_SECRET

    (notice,) = settled(tasks.report.using(on_end=Webhook(receiver.url()))(5))

    assert notice.state is NoticeState.GIVEN_UP
    assert "AUTOTASK_WEBHOOK_SECRET" in notice.error
    assert receiver.connections == 0


def test_a_host_that_is_not_listed_is_refused_at_the_call(db, receiver, settings):
    settings.AUTOTASK_WEBHOOK_HOSTS = ["example.org"]

    with pytest.raises(InvalidOption, match="AUTOTASK_WEBHOOK_HOSTS"):
        tasks.report.using(on_end=Webhook(receiver.url()))


@pytest.mark.parametrize("hosts", [[], ["example.org"], ["*:*"]])
def test_a_host_that_is_not_listed_any_more_is_never_connected_to(worker, receiver, settings, impatient, hosts):
    settings.AUTOTASK_MAIL_TRIES = 1
    settings.AUTOTASK_WEBHOOK_HOSTS = [*settings.AUTOTASK_WEBHOOK_HOSTS, f"localhost:{receiver.server_port}"]
    task = tasks.report.using(on_end=Webhook(f"http://localhost:{receiver.server_port}/"))
    # "*:*" allows the name, but not an address of this machine.
    settings.AUTOTASK_WEBHOOK_HOSTS = hosts

    (notice,) = settled(task(5))

    assert notice.state is NoticeState.GIVEN_UP
    assert "was not requested" in notice.error
    assert receiver.connections == 0


def test_a_mail_and_a_webhook_do_not_wait_for_each_other(worker, receiver, post_office, impatient):
    post_office.close()
    receiver.answers = [(500, {}), (200, {})]
    handle = tasks.report.using(on_end=Webhook(receiver.url()), email="anna@example.org")(5)
    wait_until(lambda: told(handle)[1].state is NoticeState.SENT, what="the webhook")
    assert told(handle)[0].state is NoticeState.WAITING

    post_office.open()

    assert [notice.state for notice in settled(handle)] == [NoticeState.SENT] * 2
