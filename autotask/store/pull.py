"""Remote tasks: a client from outside takes them one by one, and starts each step."""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import marks, pauses
from autotask.store.connection import rows
from autotask.task import REMOTE, State

#: Seconds for which an offered task is offered to nobody else.
OFFER = 30.0


class Offered(NamedTuple):
    """A task that was offered to a client.

    :ivar task_info: its row, as ``app.model:key``.
    """

    id: uuid.UUID
    name: str
    queue: str
    task_info: str


class Place(NamedTuple):
    """Where a task is.

    :ivar state: None: it is in neither table.
    :ivar is_remote: whether it waits for a client from outside.
    :ivar next_step: the number of the step that comes next, or that runs.
    """

    state: State | None
    is_remote: bool = False
    next_step: int = 1


# Lane by lane, as in a claim: one descent of autotask_ready for each priority of each channel, however many tasks wait, and
# one for the oldest task of each. The offer moves ready_at on: the task stays ready, and is offered again if nobody comes.
TAKE = f"""
WITH RECURSIVE lane AS (
    SELECT first.* FROM unnest(%(channels)s::text[]) AS channel(queue) CROSS JOIN LATERAL (
        SELECT t.queue, t.priority, t.executor FROM autotask_task t
        WHERE t.state = 1 AND t.queue = channel.queue ORDER BY t.queue, t.priority, t.executor LIMIT 1
    ) AS first
    UNION ALL
    SELECT following.* FROM lane CROSS JOIN LATERAL (
        SELECT t.queue, t.priority, t.executor FROM autotask_task t
        WHERE t.state = 1 AND t.queue = lane.queue AND (t.queue, t.priority, t.executor) > (lane.queue, lane.priority, lane.executor)
        ORDER BY t.queue, t.priority, t.executor LIMIT 1
    ) AS following
),
oldest AS MATERIALIZED (
    SELECT chosen.id
    FROM (SELECT DISTINCT queue, priority FROM lane WHERE executor = '{REMOTE}') AS some
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.ready_at FROM autotask_task t
        WHERE t.state = 1 AND t.queue = some.queue AND t.priority = some.priority AND t.executor = '{REMOTE}'
          AND t.ready_at <= statement_timestamp() AND NOT {pauses.BARS_TASK}
        ORDER BY t.ready_at LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS chosen
    ORDER BY chosen.priority DESC, chosen.ready_at LIMIT 1
)
UPDATE autotask_task t SET ready_at = clock_timestamp() + %(seconds)s::float8 * interval '1 s'
WHERE t.id = ANY(ARRAY(SELECT id FROM oldest))
RETURNING t.id, t.name, t.queue, t.arguments
"""

_STEP = "(SELECT coalesce(max(s.number), 0) + 1 FROM autotask_step s WHERE s.task_id = {id} AND s.number > 0)"

# By whichever pool: from now on it is like any other task, so a dead worker or a retry does not wait for the client.
START = f"""
WITH started AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), executor = %(executor)s::text, payload = coalesce(%(payload)s::bytea, t.payload),
        state = CASE WHEN t.state = 1 THEN 1 ELSE {marks.DUE_STATE} END,
        ready_at = CASE WHEN t.state = 1 THEN clock_timestamp() ELSE {marks.DUE_READY_AT} END,
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = CASE WHEN t.state = 1 THEN t.passed ELSE 0 * t.passed END
    WHERE t.id = %(id)s::uuid AND t.state IN (0, 1)
      AND (%(step)s::int IS NULL OR t.executor = '{REMOTE}' AND %(step)s::int = {_STEP.format(id="t.id")})
    RETURNING t.state, t.gate
),
waiting AS ({marks.waiting("started")})
SELECT count(*) FROM started
"""

PLACE = f"""
SELECT state, executor = '{REMOTE}' AND state <> 2, {_STEP.format(id="%(id)s::uuid")}
FROM autotask_task WHERE id = %(id)s::uuid
UNION ALL
SELECT state, false, {_STEP.format(id="%(id)s::uuid")} FROM autotask_result WHERE id = %(id)s::uuid
"""

# Steps that a client was to begin in time, and did not: a worker's scheduler does the same when it looks.
LAPSED = f"""
UPDATE autotask_task t
SET state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT}, gate = coalesce({marks.FIRST_GATE}, t.gate),
    passed = 0 * t.passed
WHERE t.id = ANY(ARRAY(
    SELECT id FROM autotask_task WHERE state = 0 AND executor = '{REMOTE}' AND run_at <= statement_timestamp()
    ORDER BY run_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING t.name
"""


def take(connection: BaseDatabaseWrapper, channels: Sequence[str], seconds: float = OFFER) -> Offered | None:
    """Offer the oldest ready remote task of some channels to one client; those of larger priority first.

    :param seconds: for which it is offered to nobody else.
    :returns: None if there is none.
    """
    found = rows(connection, TAKE, {"channels": list(channels), "seconds": seconds})
    return Offered(*found[0]) if found else None


def start(
    connection: BaseDatabaseWrapper,
    id: uuid.UUID,
    executor: str,
    *,
    step: int | None = None,
    payload: bytes | None = None,
) -> bool:
    """Make a waiting task ready for a worker.

    :param executor: where it runs.
    :param step: do it only if the task waits for a client from outside, and this step comes next; None: in any case.
    :param payload: its signed arguments from now on; None: as they are.
    :returns: whether it was done.
    """
    params = {"id": id, "executor": executor, "step": step, "payload": payload}
    return bool(rows(connection, START, params)[0][0])


def place(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Place:
    """Return where a task is, in one snapshot."""
    found = rows(connection, PLACE, {"id": id})
    if not found:
        return Place(None)
    state, is_remote, step = found[0]
    return Place(State(state), is_remote, step)


def lapse(connection: BaseDatabaseWrapper) -> list[str]:
    """Make the tasks ready again whose clients did not begin their next step in time; return the names of the tasks."""
    return [name for (name,) in rows(connection, LAPSED)]
