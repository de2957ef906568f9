"""Read all waiting tasks, and make one ready whenever it is due, past its gates; for tests, which have a clock of their own."""

import uuid
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import held, pauses, ready
from autotask.store.claim import Lane
from autotask.store.connection import in_utc, rows
from autotask.task import State

WAITING = f"""
SELECT t.id, t.name, t.priority, t.state, t.run_at AT TIME ZONE 'UTC' FROM autotask_live t
WHERE t.state <> 2 AND NOT {pauses.BARS_TASK}
"""

HASTEN = f"""
WITH taken AS ({held.taken(f"(SELECT * FROM autotask_task t WHERE id = %(id)s AND {held.has_state(State.HELD)})")}),
hastened AS (
    UPDATE autotask_task t
    SET state = 1, ready_at = coalesce(t.ready_at, clock_timestamp()), passed = jsonb_array_length(t.flow->'gates')
    WHERE t.id = %(id)s AND NOT EXISTS (SELECT FROM autotask_running r WHERE r.id = t.id)
    RETURNING {ready.RETURNING}
),
come AS ({ready.come("hastened")} ON CONFLICT DO NOTHING)
SELECT queue, priority, executor FROM hastened
"""


def waiting(connection: BaseDatabaseWrapper) -> list[tuple[uuid.UUID, str, int, datetime | None]]:
    """Return id, name and priority of all waiting tasks that are not paused, and when they are due; None: ready."""
    return [
        (id, name, priority, None if state == State.READY else in_utc(run_at))
        for id, name, priority, state, run_at in rows(connection, WAITING)
    ]


def hasten(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Lane | None:
    """Make a task ready.

    :returns: its lane; None if it does not wait.
    """
    found = rows(connection, HASTEN, {"id": id})
    return Lane(*found[0]) if found else None
