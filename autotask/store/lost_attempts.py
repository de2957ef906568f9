"""Read attempts whose worker or process died, for telemetry, which is to know all attempts."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import in_utc, rows


class LostAttempt(NamedTuple):
    """The last attempt of a task that was lost.

    :ivar timeout: seconds; None: as the setting says.
    :ivar payload: of the task, with what travels along.
    """

    id: uuid.UUID
    name: str
    queue: str
    number: int
    retries: int
    run_at: datetime
    timeout: float | None
    scheduled_for: datetime | None
    payload: bytes
    worker_id: uuid.UUID | None
    started_at: datetime
    ended_at: datetime
    reason: str


_OF_TASK = "name, queue, retries, run_at, timeout, scheduled_for, payload"

# A task that runs again is in one table, one that has ended in the other; without its payload, nothing has travelled along.
READ = f"""
SELECT gone.id, t.name, t.queue, a.number, t.retries, t.run_at AT TIME ZONE 'UTC', t.timeout,
       t.scheduled_for AT TIME ZONE 'UTC', coalesce(t.payload, ''::bytea), a.worker_id,
       coalesce(a.started_at, a.ended_at) AT TIME ZONE 'UTC', a.ended_at AT TIME ZONE 'UTC', a.error_message
FROM unnest(%(ids)s::uuid[]) AS gone(id)
CROSS JOIN LATERAL (
    SELECT number, worker_id, started_at, ended_at, error_message FROM autotask_attempt
    WHERE task_id = gone.id AND state = 7 ORDER BY id DESC LIMIT 1
) AS a
CROSS JOIN LATERAL (
    SELECT {_OF_TASK} FROM autotask_task WHERE id = gone.id
    UNION ALL
    SELECT {_OF_TASK} FROM autotask_result WHERE id = gone.id
    LIMIT 1
) AS t
"""


def read(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[LostAttempt]:
    """Return the last lost attempt of each of some tasks that are still in the database."""
    return [
        LostAttempt(
            id,
            name,
            queue,
            number,
            retries,
            in_utc(run_at),
            timeout,
            in_utc(scheduled_for),
            bytes(payload),
            worker_id,
            in_utc(started_at),
            in_utc(ended_at),
            reason,
        )
        for (
            id,
            name,
            queue,
            number,
            retries,
            run_at,
            timeout,
            scheduled_for,
            payload,
            worker_id,
            started_at,
            ended_at,
            reason,
        ) in rows(connection, READ, {"ids": arrays.uuids(ids)})
    ]
