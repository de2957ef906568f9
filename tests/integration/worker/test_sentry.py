"""autotask.telemetry.sentry with Sentry's SDK and a transport in memory."""

import pytest

pytest.importorskip("sentry_sdk")

import sentry_sdk  # noqa: E402 - skipped where it is missing
from sentry_sdk.integrations.dedupe import DedupeIntegration  # noqa: E402
from sentry_sdk.integrations.logging import LoggingIntegration  # noqa: E402
from sentry_sdk.transport import Transport  # noqa: E402

from autotask.schedules.crontab import from_cron  # noqa: E402
from autotask.schedules.every import Every  # noqa: E402
from autotask.task import DONE, ERROR  # noqa: E402
from autotask.telemetry.sentry import Sentry, schedule_of, slug  # noqa: E402
from tests.helpers import ended, wait_until  # noqa: E402
from tests.integration.worker import told  # noqa: E402
from tests.integration.worker.told import POOLS  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)

#: What the setting names in some tests.
with_retries = Sentry(retries=True)

SENTRY = "autotask.telemetry.sentry"

here = [pool.task for name, pool in POOLS.items() if name != "process"]


class InMemory(Transport):
    """Keeps what would be sent."""

    def __init__(self):
        super().__init__()
        self.items = []

    def capture_envelope(self, envelope):
        self.items += [(item.type, item.payload.json) for item in envelope.items]

    def of(self, kind, count=1):
        def found():
            seen = [payload for type, payload in list(self.items) if type == kind and self._is_ours(payload)]
            return seen if len(seen) >= count else None

        return wait_until(found, what=f"{count} of {kind}")

    @staticmethod
    def _is_ours(payload):
        """Whether it is not of a schedule of other tests, which a worker runs as well."""
        return payload.get("transaction", "request").startswith(("request", "tests.nightly", told.PATH))


@pytest.fixture
def sent(settings, request):
    settings.AUTOTASK_TELEMETRY = [SENTRY]
    transport = InMemory()
    sentry_sdk.init(
        dsn="https://key@example.com/1",
        transport=transport,
        traces_sample_rate=1.0,
        default_integrations=False,
        integrations=[
            LoggingIntegration(),
            DedupeIntegration(),
        ],
        **getattr(request, "param", {}),
    )
    yield transport
    sentry_sdk.get_global_scope().set_client(None)


@pytest.mark.parametrize("task", here, ids=["thread", "coroutine"])
def test_a_task_that_fails_for_good_is_one_error_with_its_facts(task, worker, sent):
    # When
    handle = task("fail", password="12345")
    assert ended(handle) == ERROR

    # Then
    sent.of("transaction", 2)
    [error] = sent.of("event")
    [exception] = error["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("LookupError", "nothing there")
    assert exception["mechanism"]["handled"] is False
    assert error["tags"] == {"autotask.task": task.name, "autotask.queue": "default", "autotask.id": str(handle.id)}
    facts = error["contexts"]["autotask"]
    assert (facts["id"], facts["name"], facts["attempt"], facts["retries"]) == (str(handle.id), task.name, 2, 1)
    assert error["transaction"] == task.name
    assert "arguments" not in error.get("extra", {})


@pytest.mark.parametrize("sent", [{"data_collection": {"queues": True}}], indirect=True, ids=["allowed"])
def test_arguments_are_sent_only_where_the_site_allows_personal_data_and_then_masked(sent):
    told.run(told.in_thread("fail", password="12345"))
    [error] = sent.of("event")
    assert error["extra"]["arguments"] == "word='fail', password=•••"


def test_errors_before_a_retry_are_sent_on_demand(settings, sent):
    settings.AUTOTASK_TELEMETRY = [f"{__name__}.with_retries"]
    told.run(told.in_thread("fail"))
    first, last = sent.of("event", 2)
    assert [error["contexts"]["autotask"]["attempt"] for error in (first, last)] == [1, 2]
    assert first["exception"]["values"][0]["mechanism"]["handled"] is True


def test_the_transaction_of_a_run_goes_on_with_the_trace_of_the_call(worker, sent):
    # When
    with sentry_sdk.start_transaction(name="request", op="http.server"):
        handle = told.in_thread("look")
    assert ended(handle) == DONE

    # Then
    request, run = sorted(sent.of("transaction", 2), key=lambda found: found["transaction"] != "request")
    [call] = request["spans"]
    assert (call["op"], call["description"]) == ("queue.publish", told.in_thread.name)
    assert call["data"]["messaging.message.id"] == str(handle.id)
    of_run = run["contexts"]["trace"]
    assert run["transaction"] == told.in_thread.name
    assert (of_run["op"], of_run["status"]) == ("queue.process", "ok")
    assert of_run["trace_id"] == request["contexts"]["trace"]["trace_id"]
    assert of_run["parent_span_id"] == call["span_id"]
    assert of_run["data"]["messaging.message.retry.count"] == 0
    assert of_run["data"]["messaging.message.receive.latency"] >= 0


@pytest.mark.parametrize("task", [told.tag_in_thread, told.tag_in_coroutine], ids=["thread", "coroutine"])
def test_what_a_task_tells_sentry_of_itself_does_not_reach_the_next_one(task, start_worker, sent):
    # Given
    start_worker(threads=1, coroutines=1)

    # When
    first = task("mine")
    assert ended(first) == ERROR
    second = task("")
    assert ended(second) == ERROR

    # Then
    errors = {error["tags"]["autotask.id"]: error["tags"] for error in sent.of("event", 2)}
    assert errors[str(first.id)]["of_task"] == "mine"
    assert "of_task" not in errors[str(second.id)]


def test_a_tick_checks_in_and_out_once_with_the_timetable_of_its_schedule(sent, settings):
    # When
    told.run_tick(told.nightly)

    # Then
    began, ended_ = sent.of("check_in", 2)
    assert (began["status"], ended_["status"]) == ("in_progress", "error")
    assert began["check_in_id"] == ended_["check_in_id"]
    assert began["monitor_slug"] == "tests-nightly"
    assert began["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 3 * * *"},
        "timezone": "Europe/Berlin",
        "max_runtime": 2,
    }
    assert "monitor_config" in ended_
    assert ended_["duration"] >= 0
    assert len(sent.of("transaction", 2)) == 2  # two attempts, one check-in


def test_a_run_besides_the_ticks_does_not_check_in(sent):
    told.run(told.nightly.run_now())
    sent.of("transaction", 2)
    assert [kind for kind, _ in sent.items if kind == "check_in"] == []


def test_timetables_in_the_words_of_sentry():
    assert schedule_of(Every(3600))["schedule"] == {"type": "interval", "value": 1, "unit": "hour"}
    assert schedule_of(Every(5400))["schedule"] == {"type": "interval", "value": 90, "unit": "minute"}
    assert schedule_of(Every(30)) is None
    assert schedule_of(from_cron("0 3 * jul mon", "UTC"))["schedule"]["value"] == "0 3 * 7 1"
    assert schedule_of(from_cron("0 3 L * *", "UTC")) is None


def test_slugs_of_monitors_are_valid_and_differ():
    long = "shop.tasks.a_schedule_whose_name_is_far_too_long_for_sentry_"
    assert slug("Shop.Tasks.nightly") == "shop-tasks-nightly"
    assert len(slug(f"{long}1")) <= 50
    assert slug(f"{long}1") != slug(f"{long}2")


def test_nothing_happens_where_sentry_is_not_set_up(settings):
    settings.AUTOTASK_TELEMETRY = [SENTRY]
    assert not sentry_sdk.get_client().is_active()
    handle = told.in_thread("look")
    told.run(handle)
    assert handle.status == DONE
