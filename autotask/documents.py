"""The JSON documents of tasks, schedules and workers; their keys are documented, and stay."""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import display, queues, reasons, why
from autotask.agenda import Entry, Forecast
from autotask.flow import LimitGate, RateGate
from autotask.on_end import notices
from autotask.reasons import Reason
from autotask.schedules.crontab import Crontab
from autotask.schedules.every import Every
from autotask.statistics import Counts
from autotask.store import gates_read, pauses, read, schedules, statistics, tally
from autotask.store.gates_read import COUNTED, SeenGate
from autotask.store.keys import StoredKey
from autotask.store.pauses import Kind, Pause
from autotask.store.read import LivingWorker, StoredAttempt, StoredTask
from autotask.store.statistics import Of
from autotask.store.tally import QueueCounts
from autotask.task import State
from autotask.why import Explanation

#: The last attempts of one task, at most.
MOST_ATTEMPTS = 20

#: The next due moments of each schedule in a list.
SHOWN = 3

#: For how many seconds back finished tasks are counted.
LATELY = 3600

#: The minutes whose rates are shown.
MINUTES = 5

#: The states of finished tasks.
ENDED = (State.DONE, State.ERROR, State.CANCELLED)


def stamp(value: datetime | None) -> str | None:
    """Return a moment in UTC and ISO 8601."""
    return None if value is None else value.astimezone(UTC).isoformat()


@dataclass(frozen=True, slots=True)
class TaskInFull:
    """A task with its last attempts.

    :ivar attempts: those that did not succeed, oldest first.
    :ivar are_all: whether there were no earlier ones.
    :ivar explanation: why it does not run, or what it does.
    """

    task: StoredTask
    attempts: list[StoredAttempt]
    are_all: bool
    explanation: Explanation


def task_in_full(connection: BaseDatabaseWrapper, id: uuid.UUID) -> TaskInFull | None:
    """Return a task with its last attempts, also one whose result is gone; None if nothing is kept of it."""
    task = read.task(connection, id) or read.past(connection, id)
    if task is None:
        return None
    attempts = read.last_attempts(connection, id, MOST_ATTEMPTS + 1)
    explanation = why.explain(connection, id)
    return TaskInFull(task, attempts[-MOST_ATTEMPTS:], len(attempts) <= MOST_ATTEMPTS, explanation)


def task_document(task: StoredTask) -> dict[str, Any]:
    """Return the document of a task."""
    return {
        "id": str(task.id),
        "name": task.name,
        "queue": task.queue,
        "priority": task.priority,
        "tags": task.tags or [],
        "subject": task.subject,
        "metadata": display.masked_values(json.loads(task.metadata)) if task.metadata else {},
        "status": task.state.status.value,
        "state": task.state.name.lower(),
        "arguments": task.arguments,
        "created_at": stamp(task.created_at),
        "run_at": stamp(task.run_at),
        "started_at": stamp(task.started_at),
        "ended_at": stamp(task.ended_at),
        "kept_until": stamp(task.kept_until),
        "result_expired": task.expired,
        "attempt": task.attempt,
        "failures": task.failures,
        "lost": task.lost,
        "retries": task.retries,
        "timeout": task.timeout,
        "executor": None if task.expired else task.executor or "thread",
        "scheduled_for": stamp(task.scheduled_for),
        "expires_at": stamp(task.expires_at),
        "at_most_once": task.at_most_once,
        "progress": None if task.progress is None else {"done": task.progress.done, "total": task.progress.total},
        "worker_id": None if task.worker_id is None else str(task.worker_id),
        "cancel_requested": task.was_asked_to_stop,
        "error_message": task.error_message,
        "unique_key": reasons.unique_key(task),
        "gates": [
            {"gate": gate.key, "place": None if place is None else place.value}
            for gate, place in reasons.gates_of(task)
        ],
        "gate": task.gate if task.state is State.HELD else None,
        "notices": [notice.document for notice in notices(task.on_end, task.notices, task.state.status)],
        "settled_at": stamp(task.settled_at),
    }


def reason_document(reason: Reason | None) -> dict[str, Any] | None:
    """Return the document of the reason why a task waits."""
    if reason is None:
        return None
    return {
        "code": reason.code.value,
        "text": reason.text,
        "until": stamp(reason.until),
        **_counted(reason.waiting),
        "holders": [
            {
                "id": str(holder.id),
                "name": holder.name,
                "state": holder.state.name.lower(),
                "running_seconds": None if holder.seconds is None else round(holder.seconds, 3),
            }
            for holder in reason.holders
        ],
    }


def _counted(waiting: int) -> dict[str, Any]:
    return {"waiting": min(waiting, COUNTED), "more_wait": waiting > COUNTED}


def attempt_document(attempt: StoredAttempt) -> dict[str, Any]:
    """Return the document of an attempt."""
    return {
        "number": attempt.number,
        "state": attempt.state.name.lower(),
        "started_at": stamp(attempt.started_at),
        "ended_at": stamp(attempt.ended_at),
        "error_type": attempt.error_type,
        "error_message": attempt.error_message,
        "traceback": attempt.traceback,
    }


def task_in_full_document(seen: TaskInFull) -> dict[str, Any]:
    """Return the document of a task with its attempts."""
    return {
        **task_document(seen.task),
        "reason": reason_document(seen.explanation.reason),
        "why": why.document(seen.explanation),
        "attempts": [attempt_document(attempt) for attempt in seen.attempts],
    }


def agenda_document(entries: Iterable[Entry], last_runs: Mapping[str, StoredTask], now: datetime) -> dict[str, Any]:
    """Return the document of all schedules with their last runs."""
    documents = [schedule_document(entry, last_runs.get(entry.name), now) for entry in entries]
    return {"at": stamp(now), "schedules": documents}


def schedule_document(entry: Entry, last: StoredTask | None, now: datetime) -> dict[str, Any]:
    """Return the document of a schedule."""
    stored, timetable = entry.stored, entry.timetable
    return {
        "name": entry.name,
        "task": stored.task if stored is not None else entry.task and entry.task.name,
        "condition": entry.condition(now).value,
        "in_words": entry.in_words(),
        "expression": timetable.expression if isinstance(timetable, Crontab) else None,
        "seconds": timetable.seconds if isinstance(timetable, Every) else None,
        "time_zone": timetable.tz if isinstance(timetable, Crontab) else None,
        "spec": stored.spec if stored is not None else entry.task and entry.task.schedule.spec,
        "in_code": entry.task is not None,
        "paused_at": stored and stamp(stored.paused_at),
        "paused_by": stored.paused_by if stored is not None else "",
        "registered_at": stored and stamp(stored.registered_at),
        "declared_at": stored and stamp(stored.declared_at),
        "last_tick": stored and stamp(stored.last_tick),
        "last_run": last and run_document(last),
        "next": [stamp(moment) for moment in entry.coming(now, SHOWN)],
    }


def run_document(run: StoredTask) -> dict[str, Any]:
    """Return the document of a run of a schedule."""
    return {
        "id": str(run.id),
        "status": run.state.status.value,
        "state": run.state.name.lower(),
        "manual": run.scheduled_for is None,
        "scheduled_for": stamp(run.scheduled_for),
        "started_at": stamp(run.started_at),
        "ended_at": stamp(run.ended_at),
        "error_message": run.error_message,
    }


def forecast_document(seen: Forecast) -> dict[str, Any]:
    """Return the document of a forecast."""
    return {
        "name": seen.entry.name,
        "in_words": seen.entry.in_words(),
        "next": [_tick_document(seen, tick) for tick in seen.ticks],
        "later": seen.later,
        "time_zone_data": seen.zone_data,
    }


def _tick_document(seen: Forecast, tick: datetime) -> dict[str, Any]:
    return {
        "at": stamp(tick),
        "local": tick.astimezone(seen.entry.zone).isoformat(),
        "remarks": seen.remarks.get(tick, []),
    }


@dataclass(frozen=True, slots=True)
class Overview:
    """Queues, counts of tasks that finished lately, workers, pauses, and where most tasks are held, at one moment.

    :ivar paused_schedules: when, by name, and by whom.
    :ivar counts: those of the last minutes.
    """

    at: datetime
    counts: Counts
    queues: list[QueueCounts]
    ended: dict[State, int]
    workers: list[LivingWorker]
    gates: list[SeenGate]
    pauses: list[Pause]
    paused_schedules: dict[str, tuple[datetime, str]]


def overview(connection: BaseDatabaseWrapper) -> Overview:
    """Return the overview of now."""
    now = schedules.now(connection)
    minute = now.replace(second=0, microsecond=0)  # The present one is not over.
    counts = statistics.totals(connection, minute - timedelta(minutes=MINUTES), minute, by="all")
    return Overview(
        at=now,
        counts=counts.get(Of(), Counts()),
        queues=tally.counts(connection),
        ended=tally.ended_lately(connection, LATELY),
        workers=read.workers(connection),
        gates=gates_read.busiest(connection),
        pauses=pauses.read(connection),
        paused_schedules=pauses.paused_schedules(connection),
    )


def overview_document(seen: Overview) -> dict[str, Any]:
    """Return the document of an overview."""
    return {
        "at": stamp(seen.at),
        "queues": [_queue_document(queue) for queue in seen.queues],
        "ended": {"seconds": LATELY, **{state.name.lower(): seen.ended.get(state, 0) for state in ENDED}},
        "per_minute": {name: round(number / MINUTES, 3) for name, number in rates(seen.counts).items()},
        "workers": [_worker_document(worker) for worker in seen.workers],
        "limits": [_limit_document(gate, seen.pauses) for gate in seen.gates if isinstance(gate.terms, LimitGate)],
        "rates": [_rate_document(gate, seen.pauses) for gate in seen.gates if isinstance(gate.terms, RateGate)],
        "paused_tasks": _held_by(Kind.TASK, seen.gates),
        "paused_queues": _held_by(Kind.QUEUE, seen.gates),
        "pauses": [pause_document(pause) for pause in seen.pauses],
        "paused_schedules": [
            {"name": name, "paused_at": stamp(at), "paused_by": by} for name, (at, by) in seen.paused_schedules.items()
        ],
    }


def _queue_document(queue: tally.QueueCounts) -> dict[str, Any]:
    return {
        "queue": queue.queue,
        "scheduled": queue.scheduled,
        "ready": queue.ready,
        "running": queue.running,
        "held": queue.held,
        "oldest_wait_seconds": round(queue.oldest, 3),
    }


def _worker_document(worker: read.LivingWorker) -> dict[str, Any]:
    return {
        "id": str(worker.id),
        "pid": worker.pid,
        "host": worker.host,
        "kind": worker.kind,
        "serves_pid": worker.serves_pid,
        "queues": queues.split(worker.queues)[0],
        "exclude_queues": queues.split(worker.queues)[1],
        "threads": worker.threads,
        "running": worker.running,
        "version": worker.version,
        "alive": worker.alive,
        "stopping": worker.stopping,
        "started_seconds_ago": round(worker.age, 3),
        "seen_seconds_ago": round(worker.seen, 3),
    }


def rates(counts: Counts) -> dict[str, int]:
    """Return the numbers whose rates are shown."""
    return {"started": counts.started, "ended": counts.ended, "failed": counts.failed}


def _held_by(kind: Kind, gates: Iterable[SeenGate]) -> list[dict[str, Any]]:
    found = [(gate, paused[1]) for gate in gates if (paused := pauses.of_gate(gate.key)) and paused[0] is kind]
    return [{"name": name, **_counted(gate.waiting)} for gate, name in found]


def _limit_document(gate: SeenGate, paused: list[Pause]) -> dict[str, Any]:
    assert isinstance(gate.terms, LimitGate)
    return {
        "name": reasons.name_of(gate.key),
        "taken": gate.taken,
        "most": gate.terms.most,
        **_counted(gate.waiting),
        "paused": reasons.pause_of(gate.key, paused) is not None,
    }


def _rate_document(gate: SeenGate, paused: list[Pause]) -> dict[str, Any]:
    assert isinstance(gate.terms, RateGate)
    return {
        "name": reasons.name_of(gate.key),
        "rate": reasons.per_time(gate.terms),
        "tokens": round(reasons.tokens(gate, gate.terms), 3),
        "burst": gate.terms.burst,
        "next": stamp(reasons.next_tokens(gate, gate.terms)),
        "closed_until": stamp(gate.closed_until),
        **_counted(gate.waiting),
        "paused": reasons.pause_of(gate.key, paused) is not None,
    }


def pause_document(pause: Pause) -> dict[str, Any]:
    """Return the document of a pause."""
    return {
        "kind": pause.kind.value,
        "name": pause.name,
        "paused_at": stamp(pause.paused_at),
        "paused_by": pause.paused_by,
        "until": stamp(pause.until),
        "reason": pause.reason,
    }


def key_document(key: StoredKey) -> dict[str, Any]:
    """Return the document of an API key."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "created_at": stamp(key.created_at),
        "expires_at": stamp(key.expires_at),
        "used_at": stamp(key.used_at),
        "revoked_at": stamp(key.revoked_at),
        "is_valid": key.is_valid,
    }
