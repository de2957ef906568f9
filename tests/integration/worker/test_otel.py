"""autotask.telemetry.otel with the SDK of OpenTelemetry and its exporter in memory."""

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from autotask.models import Pause  # noqa: E402
from autotask.task import DONE, ERROR  # noqa: E402
from autotask.telemetry.interface import Call  # noqa: E402
from autotask.telemetry.otel import OpenTelemetry  # noqa: E402
from tests.helpers import ended, wait_until  # noqa: E402
from tests.integration.held import pause  # noqa: E402
from tests.integration.store.shapes import let_run  # noqa: E402
from tests.integration.worker import told  # noqa: E402
from tests.integration.worker.told import POOLS  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracer = provider.get_tracer("a site")

#: What the setting names: spans of this provider, since that of a process can be set only once.
telemetry = OpenTelemetry(provider)

here = [pool.task for name, pool in POOLS.items() if name != "process"]


@pytest.fixture(autouse=True)
def traced(settings):
    settings.AUTOTASK_TELEMETRY = [__name__]
    exporter.clear()


def spans(kind, count=1):
    def found():
        made = [
            span
            for span in exporter.get_finished_spans()
            if span.kind is kind and span.attributes["autotask.task.name"].startswith(told.PATH)
        ]
        return made if len(made) >= count else None

    return wait_until(found, what="the spans")


@pytest.mark.parametrize("task", here, ids=["thread", "coroutine"])
def test_the_span_of_a_run_is_the_root_of_a_trace_and_linked_to_that_of_the_call(task, worker):
    # When
    with tracer.start_as_current_span("request") as request:
        handle = task("look")
    assert ended(handle) == DONE

    # Then
    [call], [run] = spans(SpanKind.PRODUCER), spans(SpanKind.CONSUMER)
    common = {
        "messaging.system": "autotask",
        "messaging.destination.name": "default",
        "messaging.message.id": str(handle.id),
        "autotask.task.name": task.name,
    }
    assert call.name == "send default"
    assert call.parent.span_id == request.get_span_context().span_id
    sent = common | {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    assert dict(call.attributes) == sent
    assert run.name == "process default"
    assert run.parent is None
    assert [link.context.span_id for link in run.links] == [call.context.span_id]
    assert run.context.trace_id != call.context.trace_id
    processed = common | {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    assert processed.items() <= dict(run.attributes).items()
    assert run.attributes["autotask.task.attempt"] == 1
    assert run.attributes["autotask.task.outcome"] == "done"
    assert run.status.status_code is StatusCode.UNSET
    assert run.start_time < run.end_time


def test_each_attempt_has_a_span_with_its_number_and_its_error(worker):
    # When
    handle = told.in_thread("fail")
    assert ended(handle) == ERROR

    # Then
    first, last = spans(SpanKind.CONSUMER, 2)
    assert [span.attributes["autotask.task.attempt"] for span in (first, last)] == [1, 2]
    assert [span.attributes["autotask.task.outcome"] for span in (first, last)] == ["retry", "error"]
    for span in (first, last):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "builtins.LookupError"
        [event] = span.events
        assert event.attributes["exception.message"] == "nothing there"
        assert len(span.links) == 1


def test_an_attempt_whose_worker_died_has_a_span_with_its_times_from_the_one_that_rescues_it(start_worker):
    # Given: as a worker leaves it that is killed
    handle = told.in_thread("look")
    let_run(handle.id, seconds=90.0)

    # When: what links the spans is the call, which is gone once the task has ended
    pause("queue", "default")
    start_worker()
    spans(SpanKind.CONSUMER)
    Pause.objects.all().delete()
    assert ended(handle) == DONE

    # Then
    lost, done = sorted(spans(SpanKind.CONSUMER, 2), key=lambda span: span.start_time)
    [call] = spans(SpanKind.PRODUCER)
    assert (lost.attributes["autotask.task.outcome"], done.attributes["autotask.task.outcome"]) == ("lost", "done")
    assert (lost.attributes["autotask.task.attempt"], lost.attributes["error.type"]) == (1, "lost")
    assert lost.status.status_code is StatusCode.ERROR
    assert "no sign of life" in lost.status.description
    assert lost.end_time - lost.start_time >= 90e9
    assert [link.context.span_id for link in lost.links] == [call.context.span_id]


def test_what_a_task_does_is_inside_its_span():
    told.run(told.outer("x"))
    [outer_run], (_, inner_call) = spans(SpanKind.CONSUMER), spans(SpanKind.PRODUCER, 2)
    assert inner_call.parent.span_id == outer_run.context.span_id


def test_calls_in_bulk_have_one_span_to_which_all_runs_are_linked():
    told.run(*told.in_thread.enqueue_many([("a",), ("b",)]))
    [call], runs = spans(SpanKind.PRODUCER), spans(SpanKind.CONSUMER, 2)
    assert call.attributes["messaging.batch.message_count"] == 2
    assert "messaging.message.id" not in call.attributes
    assert {link.context.span_id for run in runs for link in run.links} == {call.context.span_id}


def test_a_call_that_fails_ends_its_span_with_the_error():
    with pytest.raises(TypeError):
        told.in_thread()
    [call] = spans(SpanKind.PRODUCER)
    assert call.status.status_code is StatusCode.ERROR


def test_without_an_sdk_nothing_travels():
    if type(trace.get_tracer_provider()).__name__ != "ProxyTracerProvider":
        pytest.skip("something has set a provider in this process")
    with OpenTelemetry().call(Call("x", "default")) as carried:
        assert carried is None
