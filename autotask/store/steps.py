"""The results of the steps of tasks: keep them under the fence of the claim, read them, delete them.

A step of a function has a name, and its task continues to run. A step of a model task has a number, and its task waits again
when the step has ended: the value of the step and the release of the task are one statement.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, columns, held, marks, model_rows, notify, ready
from autotask.store.connection import in_utc, rows
from autotask.store.model_rows import RowTable
from autotask.store.prepared import prepared_rows

#: Up to this many steps, the plan of a prepared statement is as good as one made for their number.
FEW = 10


class StoredStep(NamedTuple):
    """A step that has ended.

    :ivar number: of a step of a model task, from 1; 0: it has a name.
    :ivar value: what it returned, as an envelope of :func:`autotask.payload.dump_step`; None for None.
    """

    number: int
    name: str
    value: bytes | None
    started_at: datetime
    ended_at: datetime


class Advance(NamedTuple):
    """Returned by the function of a task instead of a result: a step has ended well, and another one follows.

    :ivar value: what the step returned.
    :ivar delay: seconds until the task is ready again.
    :ivar executor: where the task runs next; None: where it has run.
    """

    number: int
    value: Any
    delay: float = 0.0
    executor: str | None = None


class StepEnd(NamedTuple):
    """A numbered step that has ended well, and is not the last one.

    :ivar value: as an envelope.
    :ivar seconds: how long it took.
    :ivar ended_at: when it ended, on the monotonic clock of the process.
    :ivar delay: seconds until the task is ready again.
    :ivar executor: where the task runs next; None: where it has run.
    """

    id: uuid.UUID
    fence: int
    number: int
    value: bytes | None
    seconds: float
    ended_at: float
    delay: float = 0.0
    executor: str | None = None


_READ = """
SELECT number, name, value, started_at AT TIME ZONE 'UTC', ended_at AT TIME ZONE 'UTC'
FROM autotask_step WHERE task_id = %(id)s::uuid"""

NAMED = f"{_READ} AND number = 0"
LAST = f"{_READ} AND number > 0 ORDER BY number DESC LIMIT 1"

FORGET = "DELETE FROM autotask_step WHERE task_id = %(id)s::uuid"

# The locks keep others from ending or rescuing the task until the caller's transaction has committed; they let the heartbeat,
# the progress, requests to cancel and the ends of the other tasks of the claim pass.
KEEP = f"""
WITH {claims.locked("KEY SHARE")}
INSERT INTO autotask_step (task_id, number, name, value, started_at, ended_at)
SELECT claimed.id, 0, %(name)s::text, %(value)s::bytea,
       clock_timestamp() - %(seconds)s::float8 * interval '1 s', clock_timestamp()
FROM (SELECT id FROM autotask_task WHERE id = %(id)s::uuid FOR KEY SHARE) AS claimed
{claims.in_force("%(fence)s::bigint", "claimed.id")}
RETURNING 1
"""

# As for a release, the attempt does not count, and what has failed before in this step is over. A task that should be cancelled
# is ready at once, for a worker to record that. With gates, each step passes them: between two steps it has no slots, and keeps its
# place in the line.
_WAITS = "o.delay > 0 AND NOT t.cancel_requested"
_PASSES_AGAIN = f"({marks.FIRST_GATE} IS NOT NULL AND NOT t.cancel_requested)"
# So it is not left to a client from outside, either: perhaps none comes.
_NEXT = "CASE WHEN t.cancel_requested THEN t.executor ELSE coalesce(o.executor, t.executor) END"
_ADVANCE = f"""
WITH {claims.locked("NO KEY UPDATE")},
step AS MATERIALIZED (
    SELECT o.* FROM unnest(
        %(id)s::uuid[], %(fence)s::bigint[], %(number)s::smallint[], %(value)s::bytea[], %(seconds)s::float8[],
        %(ended_ago)s::float8[], %(delay)s::float8[], %(executor)s::text[]
    ) AS o(id, fence, number, value, seconds, ended_ago, delay, executor)
    {claims.in_force("o.fence", "o.id")}
),
ended AS (
    UPDATE autotask_task t
    SET state = CASE WHEN {_WAITS} THEN 0 WHEN {_PASSES_AGAIN} THEN 8 ELSE 1 END,
        run_at = CASE WHEN {_PASSES_AGAIN} AND NOT {_WAITS} THEN t.run_at
                      ELSE clock_timestamp() + CASE WHEN {_WAITS} THEN o.delay ELSE 0 END * interval '1 s' END,
        ready_at = CASE WHEN {_WAITS} OR {_PASSES_AGAIN} THEN NULL ELSE clock_timestamp() END,
        gate = coalesce({marks.FIRST_GATE}, t.gate),
        passed = CASE WHEN {_WAITS} OR {_PASSES_AGAIN} THEN 0 ELSE 1 END * t.passed,
        failures = 0, lost = 0, unknown_since = NULL, started_at = NULL,
        expires_at = NULL, unique_key = {columns.KEY_AGAIN}, executor = {_NEXT}
    FROM step o WHERE t.id = ANY(ARRAY(SELECT id FROM step)) AND t.id = o.id
    RETURNING {held.RETURNING}, t.flow, t.awaited, o.number, o.value,
              clock_timestamp() - (o.ended_ago + o.seconds) * interval '1 s' AS started_at,
              clock_timestamp() - o.ended_ago * interval '1 s' AS ended_at
),
come AS ({ready.come("ended")}),
{claims.put_back("ended")},
kept AS (
    INSERT INTO autotask_step (task_id, number, name, value, started_at, ended_at)
    SELECT id, number, '', value, started_at, ended_at FROM ended
    ON CONFLICT (task_id, number, name)
    DO UPDATE SET value = excluded.value, started_at = excluded.started_at, ended_at = excluded.ended_at
),
marked AS ({marks.freed("(SELECT flow FROM ended WHERE state <> 1)")}),
{held.waiting("ended")}
"""

_ADVANCED = "\nSELECT count(*), array_agg(id) FILTER (WHERE awaited) FROM ended"

ADVANCE = _ADVANCE + _ADVANCED


def word(number: int, name: str = "") -> str:
    """Return a step as one word, for its signature and for messages: the number, or the name after a colon."""
    return str(number) if number else f":{name}"


def named(connection: BaseDatabaseWrapper, id: uuid.UUID) -> list[StoredStep]:
    """Return the ended steps of a function."""
    return [_stored(row) for row in rows(connection, NAMED, {"id": id})]


def last(connection: BaseDatabaseWrapper, id: uuid.UUID) -> StoredStep | None:
    """Return the ended step of a model task with the largest number; None: step 1 has not ended."""
    found = rows(connection, LAST, {"id": id})
    return _stored(found[0]) if found else None


def keep(
    connection: BaseDatabaseWrapper, id: uuid.UUID, fence: int, name: str, value: bytes | None, seconds: float
) -> bool:
    """Keep what a step of a running function has returned, in the caller's transaction.

    :returns: False if the claim of the task is over: then nothing was kept.
    """
    params = {
        "id": id,
        "fence": fence,
        "name": name,
        "value": value,
        "seconds": seconds,
        "claims": claims.numbers([fence]),
    }
    return bool(rows(connection, KEEP, params))


def forget(connection: BaseDatabaseWrapper, id: uuid.UUID) -> None:
    """Forget the steps of a task: it begins at its first one."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, {"id": id})


def advance(
    connection: BaseDatabaseWrapper,
    steps: Sequence[StepEnd],
    *,
    now: float,
    table: RowTable | None = None,
    over: Sequence[int] = (),
) -> int:
    """Keep what steps have returned, and let their tasks wait for the next step.

    :param now: the monotonic clock of the process.
    :param table: the table with the rows of these tasks, which show the step from now on.
    :param over: the numbers of the claims whose last tasks these are.
    :returns: how many claims were still ours.
    """
    params = {
        **claims.parameters([step.fence for step in steps], over),
        "id": arrays.uuids([step.id for step in steps]),
        "fence": arrays.numbers([step.fence for step in steps]),
        "number": arrays.numbers([step.number for step in steps]),
        "value": arrays.unless_none(arrays.binaries, [step.value for step in steps]),
        "seconds": arrays.numbers([step.seconds for step in steps]),
        "ended_ago": arrays.numbers([now - step.ended_at for step in steps]),
        "delay": arrays.numbers([step.delay for step in steps]),
        "executor": arrays.unless_none(arrays.texts, [step.executor for step in steps]),
    }
    sql = ADVANCE if table is None else f"{_ADVANCE}{model_rows.stepped(table, 'ended')}{_ADVANCED}"
    run = prepared_rows if len(steps) <= FEW else rows
    count, awaited = run(connection, sql, params)[0]
    if awaited:
        notify.tell_after_commit(connection, {notify.ended_channel(id): "" for id in awaited})
    return int(count)


def _stored(row: tuple[Any, ...]) -> StoredStep:
    number, name, value, started, ended = row
    return StoredStep(number, name, None if value is None else bytes(value), in_utc(started), in_utc(ended))
