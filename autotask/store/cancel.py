"""Cancel waiting tasks; ask running ones to stop."""

import contextlib
import enum
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.flow import Flow
from autotask.store import cancelled, columns, held, marks, model_rows, notify, ready
from autotask.store.cancelled import Cancelled
from autotask.store.connection import rows, text
from autotask.task import State


def kept(source: str, **values: str) -> str:
    """Return a statement that keeps the tasks of a source as CANCELLED.

    :param values: expressions for further columns.
    """
    return columns.insert(
        "autotask_result",
        source,
        columns.COMMON,
        state="5",
        ended_at="clock_timestamp()",
        kept_until="clock_timestamp() + ttl * interval '1 s'",
        **values,
    )


# One that is ready or held is taken from that table first: the lock of its row there decides the race with a claim.
_GONE = f"""
WITH taken AS ({ready.taken("(SELECT * FROM autotask_task WHERE id = %(id)s AND state = 1)")}),
let_go AS ({held.taken(f"(SELECT * FROM autotask_task t WHERE id = %(id)s AND {held.has_state(State.HELD)})")}),
gone AS (
    DELETE FROM autotask_task
    WHERE id = %(id)s AND (state = 0 OR EXISTS (SELECT FROM taken) OR EXISTS (SELECT FROM let_go)) RETURNING *
),
kept AS ({kept("gone", error_message="%(reason)s::text")} {model_rows.RETURNING}),
marked AS ({marks.freed("gone")})"""

_TOLD = "\nSELECT name, queue, awaited, coalesce(passed, 0) > 0 FROM gone"

#: The flow of a task that had none.
_NO_FLOW = Flow().stored

# The worker notices it with its next heartbeat, or at once where it can hear.
# The worker that records the end of the task finds the reason in its flow.
ASK_RUNNING = f"""
UPDATE autotask_task t
SET cancel_requested = true,
    flow = coalesce(t.flow, '{_NO_FLOW}') || jsonb_build_object('{columns.WHY}', %(why)s::text)
FROM (SELECT worker_id FROM autotask_running WHERE id = %(id)s) AS r
WHERE t.id = %(id)s RETURNING r.worker_id
"""

#: A task can go from waiting to running and back between two statements, but hardly this often.
_TRIES = 5


class Cancellation(enum.Enum):
    """The result of a request to cancel."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    TOO_LATE = "too late"


def cancel(connection: BaseDatabaseWrapper, id: uuid.UUID, reason: str = "", by: str = "") -> Cancellation:
    """Cancel a waiting task, or ask the worker of a running one to stop it.

    :param reason: why it is cancelled, for its message; "": somebody wants it.
    :param by: the user who cancels it; "": unknown.
    :returns: TOO_LATE if the task has ended, or does not exist.
    """
    why = reason or " ".join(filter(None, ("cancelled", by and f"by {text(by, 200)}", "while it ran")))
    keeps_locks = connection.in_atomic_block
    for _ in range(_TRIES):
        with (
            contextlib.suppress(_Missed),
            transaction.atomic(using=connection.alias) if keeps_locks else contextlib.nullcontext(),
        ):
            return _tried(connection, id, reason, why, keeps_locks)
        if not rows(connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s", {"id": id}):
            break
    return Cancellation.TOO_LATE


class _Missed(Exception):
    """The task has begun, or waits again, since the statement that found it began.

    That statement has locked its row all the same. A claim locks the row in the ready table first, so nobody may keep this lock: the next
    try, or another task, could wait for a claim that waits for it.
    """


def _tried(connection: BaseDatabaseWrapper, id: uuid.UUID, reason: str, why: str, keeps_locks: bool) -> Cancellation:
    if (gone := cancel_waiting(connection, id, reason)) is not None:
        cancelled.tell_after_commit(connection, [gone])
        return Cancellation.CANCELLED
    asked = rows(connection, ASK_RUNNING, {"id": id, "why": why})
    if not asked or (
        keeps_locks and not rows(connection, "SELECT 1 FROM autotask_running WHERE id = %(id)s", {"id": id})
    ):
        raise _Missed
    notify.tell_after_commit(connection, {notify.worker_channel(asked[0][0]): ""})
    return Cancellation.REQUESTED


def cancel_waiting(connection: BaseDatabaseWrapper, id: uuid.UUID, reason: str = "") -> Cancelled | None:
    """Cancel a task if it waits; the caller reports it. None: it does not wait."""

    def act(more: str) -> list[tuple[Any, ...]]:
        return rows(connection, f"{_GONE}{more}{_TOLD}", {"id": id, "reason": reason})

    gone = model_rows.act_with(connection, act, model_rows.written(model_rows.of(connection, id)))
    if not gone:
        return None
    (name, queue, awaited, frees), *_ = gone
    if awaited:
        notify.tell_after_commit(connection, {notify.ended_channel(id): ""})
    if frees:
        notify.wake_after_commit(connection)
    return Cancelled(id, name, queue)


def end_held(connection: BaseDatabaseWrapper, statement: str, params: Mapping[str, Any] | None = None) -> int:
    """End held tasks as CANCELLED, and notify those that wait for them; return how many.

    :param statement: keeps the results of the deleted rows, ``gone``.
    """
    ended = model_rows.act_with(
        connection,
        lambda more: rows(connection, f"{statement}{more}\nSELECT id, name, queue, awaited FROM gone", params),
        model_rows.written(model_rows.tables.values()),
    )
    cancelled.tell_after_commit(connection, [Cancelled(id, name, queue) for id, name, queue, _ in ended])
    if awaited := [id for id, _, _, awaited in ended if awaited]:
        notify.tell_after_commit(connection, {notify.ended_channel(id): "" for id in awaited})
    return len(ended)
