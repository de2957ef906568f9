"""Remote tasks: a client from outside takes them one by one, and starts each step.

Such a task has the executor ``remote``, for which no worker claims. While a step is due or runs, it has the executor of its
definition, and is a task like any other. The commits here do not wait for the disk: a lost one costs the client a repetition,
and what a step does is committed later, with all that was committed before.
"""

import functools
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, marks, pauses, ready
from autotask.store.connection import execute, rows
from autotask.store.prepared import rows_for_caller
from autotask.task import REMOTE, State

#: Seconds for which an offered task is offered to nobody else.
OFFER = 30.0

#: Bytes of a row, as stored, that are read along with the claim of its step.
LARGEST_ROW = 1000


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


class Key(NamedTuple):
    """The key of a row whose task is meant.

    :ivar table: the quoted name of its table.
    :ivar column: that of the key.
    :ivar type: the type of the column.
    :ivar columns: the quoted names of the columns to read of the row; none: it is not read.
    """

    table: str
    column: str
    type: str
    value: Any
    columns: tuple[str, ...] = ()


class Claimed(NamedTuple):
    """A step that was stored as claimed by a worker: the parts of its task that the worker needs.

    :ivar row: the values of its row, in the order of :attr:`Key.columns`; None: they were not read, or are too large.
    """

    id: uuid.UUID
    fence: int
    queue: str
    priority: int
    retries: int
    payload: bytes
    row: tuple[Any, ...] | None = None


class Place(NamedTuple):
    """The place of a task.

    :ivar state: None: it is in neither table.
    :ivar is_remote: whether it waits for a client from outside.
    :ivar behind: how many steps a live one has behind it.
    """

    state: State | None
    is_remote: bool = False
    behind: int = 0


_QUICK = "quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"


# Lane by lane, as in a claim: one descent of the ready table for each priority of each channel, however many tasks wait, and
# one for the oldest tasks of each. The offer moves ready_at on: the task stays ready, and is offered again if nobody comes.
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
{_QUICK},
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
WITH {_QUICK},
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

_BEHIND = "(SELECT coalesce(max(s.number), 0) FROM autotask_step s WHERE s.task_id = {id} AND s.number > 0)"

# A task that waits for a client, and its row in the ready table, if it is ready: locked in this order, as by a claim.
_MEANT = (
    "taken AS ("
    + ready.taken("(SELECT * FROM autotask_task t WHERE t.id = %(id)s::uuid AND t.state = 1 AND {condition})")
    + ")"
)

_COMES_NEXT = f"""(%(step)s::int IS NULL OR t.executor = '{REMOTE}' AND %(step)s::int = {_BEHIND.format(id="t.id")} + 1
    AND (t.state = 1 OR %(step)s::int > 1))"""

# By whichever pool: from now on it is like any other task, so a dead worker or a retry does not wait for the client. A step
# after the first may begin before its deadline; a first one only when the task is ready.
START = f"""
WITH {_QUICK},
{_MEANT.replace("{condition}", _COMES_NEXT)},
started AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), executor = %(executor)s::text, payload = coalesce(%(payload)s::bytea, t.payload),
        state = CASE WHEN t.state = 1 THEN 1 ELSE {marks.DUE_STATE} END,
        ready_at = CASE WHEN t.state = 1 THEN clock_timestamp() ELSE {marks.DUE_READY_AT} END,
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = CASE WHEN t.state = 1 THEN t.passed ELSE 0 * t.passed END, awaited = t.awaited OR %(step)s::int IS NOT NULL
    FROM quick
    WHERE t.id = %(id)s::uuid AND (t.state = 0 AND {_COMES_NEXT} OR t.state = 1 AND EXISTS (SELECT FROM taken))
    RETURNING {ready.RETURNING}, t.gate
),
come AS ({ready.come("started")}),
waiting AS ({marks.waiting("started")})
SELECT count(*) FROM started
"""

_IS_PLAIN = f"""(t.executor = '{REMOTE}' AND %(step)s::int = {_BEHIND.format(id="t.id")} + 1
    AND t.attempt = 0 AND t.failures = 0 AND t.lost = 0 AND t.flow IS NULL AND NOT t.cancel_requested
    AND octet_length(coalesce(%(payload)s::bytea, t.payload)) <= %(largest)s::int)"""

# The same for a worker that has offered to take the next task: if nothing about this one is special, it is claimed at once.
CLAIM = f"""
WITH {_QUICK},
{_MEANT.replace("{condition}", _IS_PLAIN)},
started AS (
    UPDATE autotask_task t
    SET state = 1, run_at = clock_timestamp(), ready_at = clock_timestamp(), executor = '',
        payload = coalesce(%(payload)s::bytea, t.payload)
    FROM quick
    WHERE t.id = %(id)s::uuid
      AND (t.state = 0 AND %(step)s::int > 1 AND {_IS_PLAIN} OR t.state = 1 AND EXISTS (SELECT FROM taken))
    RETURNING t.id, t.queue, t.priority, t.retries, t.payload
),
gone AS (SELECT id FROM started),
{claims.MADE}
SELECT started.id, made.number << {claims.PLACE_BITS}, started.queue, started.priority, started.retries, started.payload
FROM made CROSS JOIN started
"""

# Rare enough for a look at all live tasks: a client came for a row that is gone.
OF_ROW = f"""
SELECT id FROM autotask_task
WHERE state IN (0, 1) AND executor = '{REMOTE}' AND name = %(name)s AND arguments = %(task_info)s LIMIT 10
"""

# It stays ready, so that it keeps its slots.
HOLD = f"""
WITH {_QUICK},
free AS MATERIALIZED (
    SELECT r.ctid AS address, clock_timestamp() + %(seconds)s::float8 * interval '1 s' AS until
    FROM quick, autotask_task t JOIN autotask_ready r ON {ready.IS_OF}
    WHERE t.id = %(id)s::uuid AND t.executor = '{REMOTE}' AND {_BEHIND.format(id="t.id")} = %(behind)s::int
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
SELECT t.state, t.executor = '{REMOTE}' AND t.state <> 2, {_BEHIND.format(id="t.id")}
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


def start(
    connection: BaseDatabaseWrapper,
    id: uuid.UUID,
    executor: str,
    *,
    step: int | None = None,
    payload: bytes | None = None,
) -> bool:
    """Make a waiting task ready for a worker. The caller wakes one.

    :param executor: where it runs.
    :param step: do it only if the task waits for a client from outside, and this step comes next; the end of the step will
        be notified. None: in any case.
    :param payload: its signed arguments from now on; None: as they are.
    :returns: whether it was done.
    """
    params = {"id": id, "executor": executor, "step": step, "payload": payload}
    return bool(rows_for_caller(connection, START, params)[0][0])


def claim(
    connection: BaseDatabaseWrapper,
    which: uuid.UUID | Key,
    worker_id: uuid.UUID,
    *,
    step: int,
    payload: bytes | None,
    largest: int,
) -> Claimed | None:
    """Store a step as claimed by a worker that has offered to take it, in a thread.

    :param which: the task, or the key of its row.
    :param step: as for :func:`start`.
    :param largest: bytes that the arguments may have.
    :returns: None if the task does not wait for this step, or is not plain; then nothing has changed.
    """
    params = {"worker_id": worker_id, "step": step, "payload": payload, "largest": largest}
    if isinstance(which, Key):
        sql, params["key"] = _claim_of_row(*which[:3], which.columns), which.value
    else:
        sql, params["id"] = CLAIM, which
    found = rows_for_caller(connection, sql, params)
    if not found:
        return None
    id, fence, queue, priority, retries, arguments, *of_row = found[0]
    row = tuple(of_row[1:]) if of_row and of_row[0] else None
    return Claimed(id, fence, queue, priority, retries, bytes(arguments), row)


@functools.lru_cache(maxsize=100)
def _claim_of_row(table: str, column: str, type: str, columns: tuple[str, ...]) -> str:
    is_meant = f"r.{column} = %(key)s::{type}"
    row = f"(SELECT r.task_id FROM {table} r WHERE {is_meant} AND r.done_time IS NULL)"
    sql = CLAIM.replace("%(id)s::uuid", row)
    if not columns:
        return sql
    # The size of a value that is stored out of line is known without reading it.
    size = " + ".join(f"coalesce(pg_column_size(r.{name}), 0)" for name in columns)
    values = "".join(f", r.{name}" for name in columns)
    sql = sql.replace("\nFROM made", f", r.{column} IS NOT NULL{values}\nFROM made")
    return f"{sql}LEFT JOIN {table} r ON {is_meant} AND {size} <= {LARGEST_ROW}"


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
