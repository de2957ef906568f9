"""A task in all its detail, for people and for programs; never its unpickled arguments or result."""

from collections.abc import Sequence
from typing import Any

from autotask.conf import settings
from autotask.management import render
from autotask.management.durations import in_words
from autotask.store.read import StoredAttempt, StoredTask
from autotask.task import State


def document(task: StoredTask) -> dict[str, Any]:
    """Return a task for programs; the keys are documented, and stay."""
    return {
        "id": str(task.id),
        "name": task.name,
        "queue": task.queue,
        "priority": task.priority,
        "tags": task.tags or [],
        "status": task.state.status.value,
        "state": task.state.name.lower(),
        "arguments": task.arguments,
        "created_at": render.stamp(task.created_at),
        "run_at": render.stamp(task.run_at),
        "started_at": render.stamp(task.started_at),
        "ended_at": render.stamp(task.ended_at),
        "kept_until": render.stamp(task.kept_until),
        "attempt": task.attempt,
        "failures": task.failures,
        "lost": task.lost,
        "retries": task.retries,
        "timeout": task.timeout,
        "executor": task.executor or "thread",
        "scheduled_for": render.stamp(task.scheduled_for),
        "expires_at": render.stamp(task.expires_at),
        "at_most_once": task.at_most_once,
        "progress": None if task.progress is None else {"done": task.progress.done, "total": task.progress.total},
        "worker_id": None if task.worker_id is None else str(task.worker_id),
        "cancel_requested": task.cancel_requested,
        "error_message": task.error_message,
    }


def attempt_document(attempt: StoredAttempt) -> dict[str, Any]:
    """Return an attempt for programs."""
    return {
        "number": attempt.number,
        "state": attempt.state.name.lower(),
        "started_at": render.stamp(attempt.started_at),
        "ended_at": render.stamp(attempt.ended_at),
        "error_type": attempt.error_type,
        "error_message": attempt.error_message,
        "traceback": attempt.traceback,
    }


def lines(task: StoredTask, attempts: Sequence[StoredAttempt], *, are_all: bool = True) -> list[str]:
    """Return a task and its attempts for people.

    :param are_all: whether there were no earlier attempts that did not succeed.
    """
    shown = render.fields(
        [
            ("id", task.id),
            ("name", task.name),
            ("state", _state(task)),
            ("queue", task.queue),
            ("priority", task.priority),
            ("tags", ", ".join(task.tags or ())),
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
            ("reason" if task.state is State.CANCELLED else "error", task.error_message),
        ]
    )
    if not are_all:
        shown += ["", f"The last {len(attempts)} attempts that did not succeed; there were earlier ones."]
    for attempt in attempts:
        shown += ["", *_attempt_lines(attempt)]
    return shown


def _state(task: StoredTask) -> str:
    detail = task.state.name.lower()
    words = task.state.status.value if detail == task.state.status else f"{task.state.status.value} ({detail})"
    return words + (", asked to cancel" if task.cancel_requested else "")


def _attempts(task: StoredTask) -> str:
    allowed = "at most once" if task.at_most_once else f"{task.retries} retries allowed"
    return f"{task.attempt} started, {task.failures} failed, {task.lost} lost; {allowed}"


def _time_limit(task: StoredTask) -> str:
    return f"{in_words(settings.TIMEOUT)} (AUTOTASK_TIMEOUT)" if task.timeout is None else in_words(task.timeout)


def _progress(task: StoredTask) -> str:
    if task.progress is None:
        return ""
    share = task.progress.fraction
    return f"{task.progress}" + ("" if share is None else f" ({share:.0%})")


def _attempt_lines(attempt: StoredAttempt) -> list[str]:
    took = ""
    if attempt.started_at is not None:
        took = f" after {in_words((attempt.ended_at - attempt.started_at).total_seconds())}"
    head = f"Attempt {attempt.number}: {attempt.state.name.lower()}{took}, {render.moment(attempt.ended_at)}"
    # A traceback ends with the error.
    return [head, *render.paragraph(attempt.traceback or attempt.error_message)]
