"""The timeline of a task: when it waited and ran, for how long, and how each attempt ended."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from autotask.admin import show
from autotask.models import Attempt, TaskRecord
from autotask.task import State

#: The least share of the bar that a part takes, so that it can be seen.
LEAST = 0.01


class Part(NamedTuple):
    """A part of the life of a task.

    :ivar state: as for the colours: SCHEDULED, READY or HELD while it waited, RUNNING, or how an attempt ended.
    :ivar attempt: the number of the attempt; None: it waited.
    """

    state: State
    began: datetime
    ended: datetime
    attempt: int | None = None
    error: str = ""


def parts(record: TaskRecord, attempts: Sequence[Attempt], now: datetime, *, are_all: bool) -> Iterator[Part]:
    """Yield the parts of the life of a task, oldest first.

    :param attempts: those that did not succeed, oldest first.
    :param are_all: whether there were no earlier ones; otherwise the beginning is left out.
    """
    since = record.created_at if are_all or not attempts else attempts[0].started_at or attempts[0].ended_at
    for attempt in attempts:
        began = attempt.started_at or attempt.ended_at
        yield from _waited(since, since, began)  # when it was due is known of the last one only
        error = attempt.error_message or attempt.error_type
        yield Part(State(attempt.state), began, attempt.ended_at, attempt.number, error)
        since = attempt.ended_at
    yield from _last(record, since, now)


def _last(record: TaskRecord, since: datetime, now: datetime) -> Iterator[Part]:
    """Yield what came after the attempts that did not succeed."""
    state, until = State(record.state), record.ended_at or now
    if state in (State.DONE, State.RUNNING) and record.started_at is not None:
        yield from _waited(since, record.run_at, record.started_at)
        yield Part(state, record.started_at, until, record.attempt)
    elif state is State.SCHEDULED:
        yield Part(state, since, until)
    elif state in (State.READY, State.HELD):
        yield from _waited(since, record.run_at, until, state)
    elif until - since > timedelta(milliseconds=50):  # cancelled or expired while it waited
        yield from _waited(since, record.run_at, until)


def _waited(since: datetime, due: datetime, until: datetime, state: State = State.READY) -> Iterator[Part]:
    due = min(max(due, since), until)
    if due > since:
        yield Part(State.SCHEDULED, since, due)
    if until > due:
        yield Part(state, due, until)


def shown(record: TaskRecord, attempts: Sequence[Attempt], now: datetime, *, are_all: bool) -> dict[str, Any]:
    """Return the timeline of a task, for its page."""
    found = list(parts(record, attempts, now, are_all=are_all))
    return {
        "bar": _bar(found),
        "is_cut": not are_all,
        "created": show.exact_moment(record.created_at),
        "parts": [_described(part) for part in found],
        "due": show.exact_moment(record.run_at) if record.state == State.SCHEDULED else None,
        "ended": show.exact_moment(record.ended_at) if record.ended_at else None,
        "state": show.state(record.state),
    }


def _described(part: Part) -> dict[str, Any]:
    return {
        "kind": _kind(part.state),
        "label": _label(part),
        "began": show.moment(part.began, show.clock(part.began)),
        "took": show.duration(part.ended - part.began),
        "error": show.shortened(part.error, 200),
    }


def _label(part: Part) -> object:
    if part.attempt is None:
        return show.STATE_WORDS[part.state]
    words = gettext("attempt %(number)d") % {"number": part.attempt}
    return f"{words}: {show.STATE_WORDS[part.state]}"


def _kind(state: State) -> str:
    return state.name.lower()


def _bar(found: Sequence[Part]) -> SafeString:
    lengths = [max(0.0, (part.ended - part.began).total_seconds()) for part in found]
    whole = sum(lengths) or 1.0
    shares = [max(LEAST, length / whole) for length in lengths]
    factor = 1000 / (sum(shares) or 1.0)
    drawn, left = [], 0.0
    for part, share in zip(found, shares, strict=True):
        title = f"{_label(part)}, {show.duration(part.ended - part.began)}"
        drawn.append((f"{left:.1f}", f"{share * factor:.1f}", _kind(part.state), title))
        left += share * factor
    return format_html(
        '<svg class="autotask-life" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>',
        format_html_join(
            "", '<rect x="{}" y="0" width="{}" height="10" class="autotask-life-{}"><title>{}</title></rect>', drawn
        ),
    )
