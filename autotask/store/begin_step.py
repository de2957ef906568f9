"""Begin a step of a remote task: make it due for any worker, or store it as claimed by the one that has offered to take it.

As in :mod:`autotask.store.pull`, the commits do not wait for the disk.
"""

import functools
import uuid
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claims, held, marks, ready
from autotask.store.prepared import bound_rows_for_caller, rows_for_caller
from autotask.store.pull import BEHIND, QUICK
from autotask.task import REMOTE, State

#: Bytes of a row, as stored, that are read along with the claim of its step.
LARGEST_ROW = 1000


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


# A task that waits for a client, and its row in the ready table, if it is ready: locked in this order, as by a claim.
_MEANT = (
    "taken AS ("
    + ready.taken("(SELECT * FROM autotask_task t WHERE t.id = %(id)s::uuid AND t.state = 1 AND {condition})")
    + ")"
)

_COMES_NEXT = f"""(%(step)s::int IS NULL OR t.executor = '{REMOTE}' AND %(step)s::int = {BEHIND.format(id="t.id")} + 1
    AND (t.state = 1 OR %(step)s::int > 1))"""

# By whichever pool: from now on it is like any other task, so a dead worker or a retry does not wait for the client. A step
# after the first may begin before its deadline; a first one only when the task is ready. If the task waits for a client, it comes to
# its first gate now.
# Without a step, it may be part of a transaction of the site, whose commit has to wait for the disk.
_IS_PAST = f"(t.state = 1 AND t.executor <> '{REMOTE}')"
START = f"""
WITH quick AS MATERIALIZED (
    SELECT CASE WHEN %(step)s::int IS NOT NULL THEN set_config('synchronous_commit', 'off', true) END
),
{_MEANT.replace("{condition}", _COMES_NEXT)},
started AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), executor = %(executor)s::text, payload = coalesce(%(payload)s::bytea, t.payload),
        state = CASE WHEN {_IS_PAST} OR {marks.HAS_NONE} THEN 1 ELSE 8 END,
        ready_at = CASE WHEN {_IS_PAST} OR {marks.HAS_NONE} THEN clock_timestamp() END,
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = CASE WHEN {_IS_PAST} THEN 1 ELSE 0 END * t.passed,
        awaited = t.awaited OR %(step)s::int IS NOT NULL
    FROM quick
    WHERE t.id = %(id)s::uuid AND (t.state = 0 AND {_COMES_NEXT} OR t.state = 1 AND EXISTS (SELECT FROM taken))
    RETURNING {held.RETURNING}
),
come AS ({ready.come("started")}),
{held.waiting("started")}
SELECT count(*) FROM started
"""

# Only a step that waits at a gate for its first attempt. It gives up what it has passed so far.
_WAITS_AT_GATE = f"""t.id = %(id)s::uuid AND {held.has_state(State.HELD)}
    AND t.executor <> '{REMOTE}' AND t.attempt = 0 AND t.lost = 0"""
PUT_BACK = f"""
WITH {QUICK},
let_go AS ({held.taken(f"(SELECT * FROM autotask_task t WHERE {_WAITS_AT_GATE})")}),
back AS (
    UPDATE autotask_task t
    SET executor = '{REMOTE}', state = 1, ready_at = clock_timestamp() + %(seconds)s::float8 * interval '1 s',
        passed = 0 * t.passed
    FROM quick
    WHERE {_WAITS_AT_GATE} AND EXISTS (SELECT FROM let_go)
    RETURNING {ready.RETURNING}, t.flow
),
come AS ({ready.come("back")}),
marked AS ({marks.freed("back")})
SELECT count(*) FROM back
"""

_HAS_NOTHING_SPECIAL = """t.attempt = 0 AND t.failures = 0 AND t.lost = 0 AND t.flow IS NULL AND NOT t.cancel_requested
    AND octet_length(coalesce(%(payload)s::bytea, t.payload)) <= %(largest)s::int"""

_IS_PLAIN = f"""(t.executor = '{REMOTE}' AND %(step)s::int = {BEHIND.format(id="t.id")} + 1
    AND {_HAS_NOTHING_SPECIAL})"""

_IS_PLAIN_AT_FIRST = f"""t.executor = '{REMOTE}' AND {_HAS_NOTHING_SPECIAL}
    AND NOT EXISTS (SELECT FROM autotask_step s WHERE s.task_id = t.id AND s.number > 0)"""

# The same for a worker that has offered to take the next task: if nothing about this one is special, it is claimed at once.
CLAIM = f"""
WITH {QUICK},
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

# The same for the first step of a row, whose values are read along. Written out for one step and one task, it takes two thirds of
# the time.
CLAIM_OF_ROW = f"""
WITH {QUICK},
row AS MATERIALIZED ({{row}}),
taken AS ({ready.taken(f"(SELECT * FROM autotask_task t WHERE t.id = (SELECT task_id FROM row) AND t.state = 1 AND {_IS_PLAIN_AT_FIRST})")}),
started AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), ready_at = clock_timestamp(), executor = '',
        payload = coalesce(%(payload)s::bytea, t.payload)
    FROM quick
    WHERE t.id = (SELECT task_id FROM row) AND t.state = 1 AND EXISTS (SELECT FROM taken)
    RETURNING t.id, t.queue, t.priority, t.retries, t.payload
),
made AS (
    INSERT INTO autotask_claim (number, worker_id, at, ids)
    SELECT nextval('autotask_fence'), %(worker_id)s::uuid, clock_timestamp(), ARRAY[id] FROM started
    RETURNING number
)
SELECT started.id, made.number << {claims.PLACE_BITS}, started.queue, started.priority, started.retries, started.payload,
       r.{{column}} IS NOT NULL{{values}}
FROM made CROSS JOIN started LEFT JOIN row r ON {{size}} <= {LARGEST_ROW}
"""


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


def put_back(connection: BaseDatabaseWrapper, id: uuid.UUID, seconds: float) -> bool:
    """Let a task whose step waits at a gate wait for a client from outside again, as if the step had not been begun.

    :param seconds: for which it is offered to nobody.
    :returns: whether it waited there.
    """
    return bool(rows_for_caller(connection, PUT_BACK, {"id": id, "seconds": seconds})[0][0])


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
    found = bound_rows_for_caller(connection, sql, params)
    if not found:
        return None
    id, fence, queue, priority, retries, arguments, *of_row = found[0]
    row = tuple(of_row[1:]) if of_row and of_row[0] else None
    return Claimed(id, fence, queue, priority, retries, bytes(arguments), row)


@functools.lru_cache(maxsize=100)
def _claim_of_row(table: str, column: str, type: str, columns: tuple[str, ...]) -> str:
    # The size of a value that is stored out of line is known without reading it.
    size = " + ".join(f"coalesce(pg_column_size(r.{name}), 0)" for name in columns) or "NULL::int"
    values = "".join(f", r.{name}" for name in columns)
    others = "".join(f", r.{name}" for name in columns if name not in (column, '"task_id"'))
    row = f"SELECT r.{column}, r.task_id{others} FROM {table} r WHERE r.{column} = %(key)s::{type} AND r.done_time IS NULL"
    return CLAIM_OF_ROW.format(row=row, values=values, size=size, column=column)
