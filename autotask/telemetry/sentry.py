"""Errors, transactions and check-ins of schedules for Sentry. The project sets ``sentry_sdk`` up, as for its web processes."""

import hashlib
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sentry_sdk
from sentry_sdk.crons import capture_checkin
from sentry_sdk.scope import should_send_default_pii
from sentry_sdk.utils import event_from_exception

from autotask.schedules.base import Timetable
from autotask.schedules.crontab import Crontab
from autotask.schedules.every import Every
from autotask.task import State
from autotask.telemetry.interface import Attempt, Call, Telemetry

ORIGIN = "auto.queue.autotask"

#: The longest slug of a monitor.
LONGEST_SLUG = 50

#: Units of intervals, the largest first. Sentry knows none below a minute.
_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))

_STATUS = {State.DONE: "ok", State.CANCELLED: "cancelled", State.SCHEDULED: "aborted"}


class Sentry(Telemetry):
    """Tells Sentry of calls, attempts, errors and schedules.

    :param retries: whether errors are sent that are followed by another attempt, too.
    :param monitors: whether schedules are monitors.
    """

    def __init__(self, *, retries: bool = False, monitors: bool = True) -> None:
        self._retries = retries
        self._monitors = monitors

    @contextmanager
    def call(self, call: Call) -> Iterator[dict[str, str] | None]:
        """Open the span of a call, and give its headers to travel with it."""
        if not sentry_sdk.get_client().is_active():
            yield None
            return
        with sentry_sdk.start_span(op="queue.publish", name=call.name, origin=ORIGIN) as span:
            headers = {"sentry-trace": sentry_sdk.get_traceparent(), "baggage": sentry_sdk.get_baggage()}
            yield {name: value for name, value in headers.items() if value} or None
            span.set_data("messaging.destination.name", call.queue)
            if call.is_bulk:
                span.set_data("messaging.batch.message_count", len(call.ids))
            elif call.ids:
                span.set_data("messaging.message.id", str(call.ids[0]))

    @contextmanager
    def attempt(self, attempt: Attempt, carried: Any) -> Iterator[None]:
        """Open the transaction of an attempt, which continues the trace of the call, in a scope of its own."""
        if not sentry_sdk.get_client().is_active():
            yield
            return
        headers = carried if isinstance(carried, dict) else {}
        with sentry_sdk.isolation_scope() as scope:
            scope.clear_breadcrumbs()
            _describe(scope, attempt)
            transaction = sentry_sdk.continue_trace(
                headers, op="queue.process", name=attempt.name, source="task", origin=ORIGIN
            )
            if attempt.state is State.LOST:  # it began elsewhere, a while ago
                transaction.start_timestamp = datetime.fromtimestamp(attempt.began, UTC)
            with sentry_sdk.start_transaction(transaction) as span:
                _measure(span, attempt)
                if attempt.is_here and attempt.number == 1:
                    self._check_in(attempt, "in_progress")
                yield
                if attempt.state is None:
                    span.sampled = False  # It has not begun, and somebody else will.
                else:
                    span.set_status(_STATUS.get(attempt.state, "internal_error"))

    def ended(self, attempt: Attempt) -> None:
        """Send the error of an attempt after which no other follows, and the check-in of a schedule."""
        failure = attempt.failure
        if failure is not None and (attempt.state is State.ERROR or self._retries):
            _send(failure, attempt)
        is_over = attempt.state is State.LOST and attempt.next_in is None
        if is_over or attempt.state in (State.DONE, State.ERROR):
            self._check_in(attempt, "ok" if attempt.state is State.DONE else "error")

    def flush(self, seconds: float) -> None:
        """Wait until everything is sent."""
        sentry_sdk.flush(timeout=seconds)

    def _check_in(self, attempt: Attempt, status: str) -> None:
        if not self._monitors or attempt.scheduled_for is None or attempt.timetable is None:
            return
        if (schedule := schedule_of(attempt.timetable)) is None:
            return
        schedule["max_runtime"] = max(1, math.ceil(attempt.timeout / 60))
        capture_checkin(
            monitor_slug=slug(attempt.name),
            # The same one for all attempts: a retry is no other run of the schedule.
            check_in_id=attempt.id.hex,
            status=status,
            duration=None if status == "in_progress" else attempt.seconds,
            monitor_config=schedule,
        )


def slug(name: str) -> str:
    """Return the slug of the monitor of a schedule."""
    found = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")
    if len(found) <= LONGEST_SLUG:
        return found
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{found[: LONGEST_SLUG - 9]}-{digest}"


def schedule_of(timetable: Timetable) -> Any:
    """Return a timetable in the words of Sentry; None if it has none for it."""
    if isinstance(timetable, Crontab):
        # The rest of cron's notation is understood there.
        if re.search(r"[L#]", timetable.expression):
            return None
        return {"schedule": {"type": "crontab", "value": timetable.expression}, "timezone": str(timetable.tz)}
    if isinstance(timetable, Every):
        for unit, size in _UNITS:
            if timetable.seconds % size == 0:
                return {"schedule": {"type": "interval", "value": int(timetable.seconds / size), "unit": unit}}
    return None


def _describe(scope: Any, attempt: Attempt) -> None:
    scope.set_tag("autotask.task", attempt.name)
    scope.set_tag("autotask.queue", attempt.queue)
    scope.set_tag("autotask.id", str(attempt.id))
    facts = {
        "id": str(attempt.id),
        "name": attempt.name,
        "queue": attempt.queue,
        "attempt": attempt.number,
        "retries": attempt.retries,
    }
    if attempt.scheduled_for is not None:
        facts["scheduled_for"] = attempt.scheduled_for.isoformat()
    scope.set_context("autotask", facts)


def _measure(span: Any, attempt: Attempt) -> None:
    waited = datetime.fromtimestamp(attempt.began, UTC) - attempt.ready_at
    span.set_data("messaging.system", "autotask")
    span.set_data("messaging.destination.name", attempt.queue)
    span.set_data("messaging.message.id", str(attempt.id))
    span.set_data("messaging.message.retry.count", attempt.number - 1)
    span.set_data("messaging.message.receive.latency", max(0.0, waited.total_seconds() * 1000))


def _send(failure: BaseException, attempt: Attempt) -> None:
    client = sentry_sdk.get_client()
    event, hint = event_from_exception(
        failure,
        client_options=client.options,
        mechanism={"type": "autotask", "handled": attempt.state is State.RETRY},
    )
    if _may_send_arguments(client.options) and (arguments := attempt.arguments()):
        event.setdefault("extra", {})["arguments"] = arguments
    sentry_sdk.capture_event(event, hint=hint)


def _may_send_arguments(options: dict[str, Any]) -> bool:
    """Whether the site allows what may be about people: even what is left after masking may be."""
    collection = options.get("data_collection")  # Older versions have only send_default_pii.
    return bool(collection["queues"]) if collection else bool(should_send_default_pii())


telemetry = Sentry()
