"""Remote tasks: a client from outside takes them one by one, and starts each step.

Such a task has the executor ``remote``, for which no worker claims, and is ready whatever its limits and rates are. While a step is
due or runs, it has the executor of its definition, and is a task like any other: then it passes its gates. The commits here do not
wait for the disk: a lost one costs the client a repetition, and what a step does is committed later, with all that was committed
before.
"""

import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, marks, pauses, ready
from autotask.store.connection import execute, rows
from autotask.store.prepared import rows_for_caller
from autotask.task import REMOTE, State

#: Seconds for which an offered task is offered to nobody else.
OFFER = 30.0


class Offered(NamedTuple):
    """A task that was offered to a client.

    :ivar task_info: its row, as ``app.model:key``.
    :ivar until: when it is offered again, as text.
    :ivar since: since when it has been ready, as text.
    """

    id: uuid.UUID
    task_info: str
    until: str
    since: str


class Place(NamedTuple):
    """The place of a task.

    :ivar state: None: it is in neither table.
    :ivar is_remote: whether it waits for a client from outside.
    :ivar behind: how many steps a live one has behind it.
    """

    state: State | None
    is_remote: bool = False
    behind: int = 0


#: As the first CTE, lets the commit of a statement not wait for the disk.
QUICK = "quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"


# Lane by lane, as in a claim: one descent of the ready table for each priority of each channel, however many tasks wait, and
# one for the oldest tasks of each. The offer moves ready_at on: the task stays ready, and is offered again if nobody comes.
# PostgreSQL plans it for the values of each call, since it expects less of these than of any values. A plan that it kept from a moment
# with few tasks would read all of them for each other one, once there are many.
TAKE = f"""
WITH RECURSIVE lane AS (
    SELECT first.* FROM unnest(%(channels)s::text[]) AS channel(queue) CROSS JOIN LATERAL (
        SELECT r.queue, r.priority, r.executor FROM autotask_ready r
        WHERE r.queue = channel.queue ORDER BY r.queue, r.priority, r.executor LIMIT 1
    ) AS first
    UNION ALL
    SELECT following.* FROM lane CROSS JOIN LATERAL (
        SELECT r.queue, r.priority, r.executor FROM autotask_ready r
        WHERE r.queue = lane.queue AND (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
        ORDER BY r.queue, r.priority, r.executor LIMIT 1
    ) AS following
),
oldest AS MATERIALIZED (
    SELECT chosen.*
    FROM (SELECT DISTINCT queue, priority FROM lane WHERE executor = '{REMOTE}') AS remote
    CROSS JOIN LATERAL (
        SELECT r.ctid AS address, r.id, r.priority, r.ready_at FROM autotask_ready r JOIN autotask_task t ON t.id = r.id
        WHERE r.queue = remote.queue AND r.priority = remote.priority AND r.executor = '{REMOTE}'
          AND r.ready_at <= statement_timestamp() AND t.name = ANY(%(names)s::text[]) AND NOT {pauses.BARS_TASK}
        ORDER BY r.ready_at LIMIT %(most)s::int
        FOR UPDATE OF r SKIP LOCKED
    ) AS chosen
    ORDER BY chosen.priority DESC, chosen.ready_at LIMIT %(most)s::int
),
{QUICK},
until AS MATERIALIZED (SELECT clock_timestamp() + %(seconds)s::float8 * interval '1 s' AS moment FROM quick),
offered AS (
    UPDATE autotask_ready SET ready_at = (SELECT moment FROM until)
    WHERE ctid = ANY(ARRAY(SELECT address FROM oldest)) RETURNING id
)
UPDATE autotask_task t SET ready_at = (SELECT moment FROM until)
FROM oldest o WHERE t.id = ANY(ARRAY(SELECT id FROM offered)) AND t.id = o.id
RETURNING t.id, t.arguments, t.ready_at::text, o.ready_at::text, -o.priority, o.ready_at
"""

# Lane by lane, as above.
CHANNELS = f"""
WITH RECURSIVE lane AS (
    (SELECT r.queue, r.priority, r.executor FROM autotask_ready r
     ORDER BY r.queue, r.priority, r.executor LIMIT 1)
    UNION ALL
    SELECT following.* FROM lane CROSS JOIN LATERAL (
        SELECT r.queue, r.priority, r.executor FROM autotask_ready r
        WHERE (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
        ORDER BY r.queue, r.priority, r.executor LIMIT 1
    ) AS following
)
SELECT DISTINCT queue FROM lane WHERE executor = '{REMOTE}' ORDER BY queue
"""

# Only those that nobody has begun or offered since. Nobody waits for one that is locked: its offer lapses.
WITHDRAW = f"""
WITH {QUICK},
free AS MATERIALIZED (
    SELECT r.ctid AS address, r.id, o.since
    FROM unnest(%(id)s::uuid[], %(until)s::timestamptz[], %(since)s::timestamptz[]) AS o(id, until, since)
    JOIN autotask_task t ON t.id = o.id AND t.ready_at = o.until
    JOIN autotask_ready r ON {ready.IS_OF}
    WHERE t.id = ANY(%(id)s::uuid[]) AND t.executor = '{REMOTE}'
    FOR UPDATE OF r SKIP LOCKED
),
withdrawn AS (
    UPDATE autotask_ready r SET ready_at = free.since
    FROM quick, free WHERE r.ctid = ANY(ARRAY(SELECT address FROM free)) AND r.id = free.id RETURNING r.id
)
UPDATE autotask_task t SET ready_at = free.since
FROM free WHERE t.id = ANY(ARRAY(SELECT id FROM withdrawn)) AND t.id = free.id
"""

#: The number of steps that the task *id* has behind it.
BEHIND = "(SELECT coalesce(max(s.number), 0) FROM autotask_step s WHERE s.task_id = {id} AND s.number > 0)"

# Rare enough for a look at all live tasks: a client came for a row that is gone.
OF_ROW = f"""
SELECT id FROM autotask_task
WHERE state IN (0, 1) AND executor = '{REMOTE}' AND name = %(name)s AND arguments = %(task_info)s LIMIT 10
"""

HOLD = f"""
WITH {QUICK},
free AS MATERIALIZED (
    SELECT r.ctid AS address, clock_timestamp() + %(seconds)s::float8 * interval '1 s' AS until
    FROM quick, autotask_task t JOIN autotask_ready r ON {ready.IS_OF}
    WHERE t.id = %(id)s::uuid AND t.executor = '{REMOTE}' AND {BEHIND.format(id="t.id")} = %(behind)s::int
    FOR UPDATE OF r
),
held AS (
    UPDATE autotask_ready r SET ready_at = free.until
    FROM free WHERE r.ctid = ANY(ARRAY(SELECT address FROM free)) RETURNING r.id, r.ready_at
)
UPDATE autotask_task t SET ready_at = held.ready_at FROM held WHERE t.id = held.id
RETURNING t.id
"""

# One snapshot: it is in one of the tables, or in neither.
PLACE = f"""
SELECT t.state, t.executor = '{REMOTE}' AND t.state <> 2, {BEHIND.format(id="t.id")}
FROM autotask_live t WHERE t.id = %(id)s::uuid
UNION ALL
SELECT e.state, false, 0 FROM autotask_result e WHERE e.id = %(id)s::uuid
"""

# Steps that a client should have begun in time, and did not: a worker's scheduler does the same when it looks.
LAPSED = f"""
WITH lapsed AS (
    UPDATE autotask_task t
    SET state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT}, gate = coalesce({marks.FIRST_GATE}, t.gate),
        passed = 0 * t.passed
    WHERE t.id = ANY(ARRAY(
        SELECT id FROM autotask_task WHERE state = 0 AND executor = '{REMOTE}' AND run_at <= statement_timestamp()
        ORDER BY run_at LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
    ))
    RETURNING {ready.RETURNING}, t.name
),
come AS ({ready.come("lapsed")})
SELECT name FROM lapsed
"""


def take(
    connection: BaseDatabaseWrapper,
    channels: Sequence[str],
    names: Sequence[str],
    *,
    most: int = 1,
    seconds: float = OFFER,
) -> list[Offered]:
    """Offer the oldest ready remote tasks of some channels; those of larger priority first.

    :param names: only tasks of these names.
    :param most: how many at most.
    :param seconds: for which they are offered to nobody else.
    """
    params = {"channels": list(channels), "names": list(names), "most": most, "seconds": seconds}
    found = sorted(rows_for_caller(connection, TAKE, params), key=lambda row: row[4:])
    return [Offered(*row[:4]) for row in found]


def channels(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the queues with ready remote tasks."""
    return [queue for (queue,) in rows(connection, CHANNELS)]


def withdraw(connection: BaseDatabaseWrapper, offered: Sequence[Offered]) -> None:
    """Withdraw offers, as if they had not been made."""
    params = {
        "id": arrays.uuids([each.id for each in offered]),
        "until": arrays.texts([each.until for each in offered]),
        "since": arrays.texts([each.since for each in offered]),
    }
    execute(connection, WITHDRAW, params)


def of_row(connection: BaseDatabaseWrapper, name: str, task_info: str) -> list[uuid.UUID]:
    """Return the tasks of a row that wait for a client."""
    return [id for (id,) in rows(connection, OF_ROW, {"name": name, "task_info": task_info})]


def payload(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bytes | None:
    """Return the signed arguments of a live task; None if there is no such task."""
    found = rows(connection, "SELECT payload FROM autotask_task WHERE id = %(id)s::uuid", {"id": id})
    return bytes(found[0][0]) if found else None


def hold(connection: BaseDatabaseWrapper, id: uuid.UUID, *, behind: int, seconds: float) -> bool:
    """Offer a ready task to nobody else for some seconds, if it has that many steps behind it; return whether it has."""
    return bool(rows(connection, HOLD, {"id": id, "behind": behind, "seconds": seconds}))


def place(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Place:
    """Return the place of a task, in one snapshot."""
    found = rows_for_caller(connection, PLACE, {"id": id})
    if not found:
        return Place(None)
    state, is_remote, behind = found[0]
    return Place(State(state), is_remote, behind)


def lapse(connection: BaseDatabaseWrapper) -> list[str]:
    """Make the tasks ready again whose clients did not begin their next step in time; return the names of the tasks."""
    return [name for (name,) in rows(connection, LAPSED)]
