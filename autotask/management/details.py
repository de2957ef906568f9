"""A task in detail, as text; never its unpickled arguments or result."""

import json
import math

from autotask import display, reasons
from autotask.conf import settings
from autotask.documents import TaskInFull
from autotask.log_files import LogText
from autotask.on_end import notices
from autotask.reasons import Place, Reason
from autotask.store.read import StoredAttempt, StoredTask
from autotask.task import State
from autotask.texts import render
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line

_PLACES: dict[Place | None, str] = {Place.PASSED: " (passed)", Place.HERE: " (waits here)", Place.AHEAD: " (ahead)"}


def lines(seen: TaskInFull) -> list[str]:
    """Return a task and its attempts."""
    task = seen.task
    shown = _past(task) if task.expired else _stored(seen)
    shown += _holders(seen.explanation.reason) if seen.explanation.reason else []
    if not seen.are_all:
        shown += ["", f"The last {len(seen.attempts)} attempts that did not succeed; there were earlier ones."]
    for attempt in seen.attempts:
        shown += ["", *_attempt_lines(attempt)]
    return shown


def log_lines(log: LogText) -> list[str]:
    """Return the log of a task."""
    head = f"Log: {log.path}" + ("" if log.is_all else "; earlier lines are left out")
    return ["", one_line(head, 2000), *render.paragraph(log.text)]


def _stored(seen: TaskInFull) -> list[str]:
    task = seen.task
    return render.fields(
        [
            ("id", task.id),
            ("name", task.name),
            ("state", _state(task)),
            *_why(seen),
            ("queue", task.queue),
            ("priority", task.priority),
            ("tags", ", ".join(task.tags or ())),
            *_about(task),
            *_flow(task),
            ("arguments", task.arguments),
            ("created", render.moment(task.created_at)),
            ("due", render.moment(task.run_at)),
            ("expires", render.moment(task.expires_at)),
            ("started", render.moment(task.started_at)),
            ("ended", render.moment(task.ended_at)),
            ("kept until", render.moment(task.kept_until)),
            ("attempts", _attempts(task)),
            ("time limit", _time_limit(task)),
            ("executor", task.executor or "thread"),
            ("progress", _progress(task)),
            ("worker", task.worker_id or ""),
            _error(task),
            *_notices(task),
        ]
    )


def _past(task: StoredTask) -> list[str]:
    """Return the record that is kept of a task whose result is gone."""
    return render.fields(
        [
            ("id", task.id),
            ("name", task.name),
            ("state", f"{task.state.status.value}, result expired"),
            ("queue", task.queue),
            ("priority", task.priority),
            ("tags", ", ".join(task.tags or ())),
            *_about(task),
            ("created", render.moment(task.created_at)),
            ("due", render.moment(task.run_at)),
            ("started", render.moment(task.started_at)),
            ("ended", render.moment(task.ended_at)),
            ("result", f"gone since {render.moment(task.gone_at)}, with arguments and attempts"),
            ("attempts", f"{task.attempt} started, {task.failures} failed, {task.lost} lost"),
            _error(task),
        ]
    )


def _error(task: StoredTask) -> tuple[str, object]:
    return ("reason" if task.state is State.CANCELLED else "error", task.error_message)


def _state(task: StoredTask) -> str:
    detail = task.state.name.lower()
    words = task.state.status.value if detail == task.state.status else f"{task.state.status.value} ({detail})"
    if task.state is State.DONE and task.was_asked_to_stop:
        return f"{words}, after it was asked to stop"
    return words + (", asked to stop" if task.cancel_requested else "")


def _why(seen: TaskInFull) -> list[tuple[str, object]]:
    """Return why it does not run; nothing for a task that has ended, whose state says all."""
    found = seen.explanation
    if seen.task.state.ended:
        return []
    return [("why", f"{found.code}: {found.sentence}"), *([("advice", found.advice)] if found.advice else [])]


def _flow(task: StoredTask) -> list[tuple[str, object]]:
    """Return the gates and the unique key; nothing for a task without flow control."""
    gates = [f"{reasons.in_full(gate)}{_PLACES.get(place, '')}" for gate, place in reasons.gates_of(task)]
    key = reasons.unique_key(task)
    return [
        *([("gates", "; ".join(gates))] if gates else []),
        *([("unique key", reasons.key_in_words(key))] if key else []),
    ]


def _about(task: StoredTask) -> list[tuple[str, object]]:
    """Return its subject and its metadata, masked as arguments are; nothing for a task without."""
    subject: list[tuple[str, object]] = [("subject", task.subject)] if task.subject else []
    if not task.metadata:
        return subject
    return [*subject, ("metadata", json.dumps(display.masked_values(json.loads(task.metadata)), ensure_ascii=False))]


def _notices(task: StoredTask) -> list[tuple[str, object]]:
    """Return the recipients that are notified of its end; nothing for a task without notices."""
    words = [each.in_words for each in notices(task.on_end, task.notices, task.state.status)]
    return [("notices", "; ".join(words))] if words else []


def _holders(reason: Reason) -> list[str]:
    # The text of the reason has the only one.
    if len(reason.holders) < 2:
        return []
    return ["", "The slots are taken by", *(f"  {reasons.holder(each)}: {each.name}" for each in reason.holders)]


def _attempts(task: StoredTask) -> str:
    allowed = "at most once" if task.at_most_once else f"{render.count(task.retries, 'retry', 'retries')} allowed"
    return f"{task.attempt} started, {task.failures} failed, {task.lost} lost; {allowed}"


def _time_limit(task: StoredTask) -> str:
    return f"{in_words(settings.TIMEOUT)} (AUTOTASK_TIMEOUT)" if task.timeout is None else in_words(task.timeout)


def _progress(task: StoredTask) -> str:
    if task.progress is None:
        return ""
    share = task.progress.fraction
    return f"{task.progress}" + ("" if share is None else f" ({math.floor(100 * share + 1e-9)}%)")  # 100% is all


def _attempt_lines(attempt: StoredAttempt) -> list[str]:
    took = ""
    if attempt.started_at is not None:
        took = f", ran for {in_words((attempt.ended_at - attempt.started_at).total_seconds())}"
    # Not "retry after 0.1 s": that would be read as the delay.
    head = f"Attempt {attempt.number}: {attempt.state.name.lower()}{took}, ended {render.moment(attempt.ended_at)}"
    # A traceback ends with the error.
    return [head, *render.paragraph(attempt.traceback or attempt.error_message)]
