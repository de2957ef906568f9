"""Spans of OpenTelemetry: one for the call of a task, and one for each attempt, which is linked to it.

Names, kinds and attributes are those of the semantic conventions for messaging. Needs ``opentelemetry-api`` only; the project
chooses an SDK, and sets it up.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from autotask import __version__
from autotask.task import State
from autotask.telemetry.interface import Attempt, Call, Telemetry

SYSTEM = "autotask"

#: Not the one that the project has set: that may carry baggage, which would be kept in the database.
_w3c = TraceContextTextMapPropagator()


class OpenTelemetry(Telemetry):
    """Makes spans.

    :param provider: of tracers; None: the one that is set for the process.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        # Before a provider is set, this is a proxy of the one that will be.
        self._tracer = trace.get_tracer(__name__, __version__, provider)

    @contextmanager
    def call(self, call: Call) -> Iterator[dict[str, str] | None]:
        """Open the span of a call, and give the header ``traceparent`` to travel with it."""
        attributes = {**_operation("send", call.queue), "autotask.task.name": call.name}
        name = f"send {call.queue}"
        with self._tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, attributes=attributes) as span:
            carried: dict[str, str] = {}
            _w3c.inject(carried)
            yield carried or None
            if call.is_bulk:
                span.set_attribute("messaging.batch.message_count", len(call.ids))
            elif call.ids:
                span.set_attribute("messaging.message.id", str(call.ids[0]))

    @contextmanager
    def attempt(self, attempt: Attempt, carried: Any) -> Iterator[None]:
        """Open the span of an attempt: the root of a trace of its own, which is linked to that of the call."""
        span = self._tracer.start_span(
            f"process {attempt.queue}",
            context=Context(),
            kind=SpanKind.CONSUMER,
            links=_links(carried),
            attributes=_attributes(attempt),
            start_time=int(attempt.began * 1e9),
        )
        with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield
        if attempt.state is None:
            return  # It has not begun, and somebody else will: a span that does not end is not sent.
        _set_end(span, attempt)
        span.end(None if attempt.is_here else int((attempt.began + attempt.seconds) * 1e9))

    def flush(self, seconds: float) -> None:
        """Have the SDK send its spans."""
        flush = getattr(self._provider or trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush(int(seconds * 1000))


def _operation(name: str, queue: str) -> dict[str, Any]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": name,
        "messaging.operation.type": name,
        "messaging.destination.name": queue,
    }


def _attributes(attempt: Attempt) -> dict[str, Any]:
    found = {
        **_operation("process", attempt.queue),
        "messaging.message.id": str(attempt.id),
        "autotask.task.name": attempt.name,
        "autotask.task.attempt": attempt.number,
        "autotask.task.retries": attempt.retries,
    }
    if attempt.worker_id is not None:
        found["messaging.client.id"] = str(attempt.worker_id)
    if attempt.scheduled_for is not None:
        found["autotask.task.scheduled_for"] = attempt.scheduled_for.isoformat()
    return found


def _links(carried: Any) -> list[Link]:
    if not isinstance(carried, Mapping):
        return []
    context = trace.get_current_span(_w3c.extract(carried, context=Context())).get_span_context()
    return [Link(context)] if context.is_valid else []


def _set_end(span: Span, attempt: Attempt) -> None:
    span.set_attribute("autotask.task.outcome", attempt.outcome)
    if attempt.next_in is not None:
        span.set_attribute("autotask.task.next_in", attempt.next_in)
    failure = attempt.failure
    if failure is not None:
        span.record_exception(failure)
        span.set_attribute("error.type", f"{type(failure).__module__}.{type(failure).__qualname__}")
    if attempt.state is State.LOST:
        span.set_attribute("error.type", "lost")
    if failure is not None or attempt.state in (State.ERROR, State.LOST):
        span.set_status(Status(StatusCode.ERROR, attempt.message))


telemetry = OpenTelemetry()
