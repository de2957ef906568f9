"""Background workers as lines of text and as JSON documents."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from autotask.documents import stamp
from autotask.store.background_read import Instance, StoredBackground
from autotask.texts import render
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line

#: Characters of an error that are shown.
ERROR_LENGTH = 100


def state_of(stored: StoredBackground) -> str:
    """Return the state of a background worker, in one word."""
    is_hosted = any(each.worker_id is not None for each in stored.instances)
    if stored.wanted:
        return "running" if is_hosted else "starting"
    return "stopping" if is_hosted else "stopped"


def lines(stored: StoredBackground, now: datetime) -> list[str]:
    """Return a background worker with its instances."""
    state = state_of(stored) + (f": {stored.ended}" if stored.ended else "")
    shown = [("kind", f"{stored.kind}, one per {stored.per}, queue {stored.queue}"), ("state", state)]
    if stored.waiting:
        shown.append(("waiting", str(stored.waiting)))
    for each in stored.instances:
        shown.append(("where", _place(each)))
        shown.append(("runs", _runs(each, now)))
        if each.last_error:
            shown.append(("error", one_line(each.last_error.strip().splitlines()[-1], ERROR_LENGTH)))
    return [one_line(stored.name), *("  " + line for line in render.fields(shown))]


def document(found: Sequence[StoredBackground], now: datetime) -> dict[str, Any]:
    """Return the document of background workers."""
    return {"at": stamp(now), "background_workers": [_document(stored) for stored in found]}


def _document(stored: StoredBackground) -> dict[str, Any]:
    return {
        "name": stored.name,
        "kind": stored.kind,
        "per": stored.per,
        "queue": stored.queue,
        "state": state_of(stored),
        "wanted": stored.wanted,
        "ended": stored.ended,
        "waiting": stored.waiting,
        "instances": [
            {
                "worker": None if each.worker_id is None else str(each.worker_id),
                "host": each.host,
                "pid": each.pid,
                "since": stamp(each.began_at),
                "runs": each.runs,
                "errors": each.errors,
                "last_run_at": stamp(each.last_run_at),
                "last_error": each.last_error,
                "last_error_at": stamp(each.last_error_at),
            }
            for each in stored.instances
        ],
    }


def _place(each: Instance) -> str:
    return f"{each.host}:{each.pid}" if each.worker_id is not None else f"nowhere now, last {each.host}:{each.pid}"


def _runs(each: Instance, now: datetime) -> str:
    words = f"{render.count(each.runs, 'run')}, {render.count(each.errors, 'error')}"
    if each.last_run_at is not None:
        words += f", the last {in_words((now - each.last_run_at).total_seconds())} ago"
    return words
