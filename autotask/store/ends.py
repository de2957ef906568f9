"""The statements that record how attempts ended: they move tasks from the live ones to the results, and note attempts."""

import functools

from autotask.store import claims, columns, marks, model_rows, slots
from autotask.store.model_rows import RowTable
from autotask.store.told import WORDS
from autotask.task import State

_HEIRS = "%(heir)s::uuid[], %(heir_fence)s::bigint[]"

# Prepared, a statement knows the length of no array, and the planner expects ten items of each: so few that it would compare
# each task with each outcome. Of this function it expects a thousand rows; there are as many as in the arrays.
_MANY = "generate_series(1, cardinality(%(id)s::uuid[]))"

_WITH_HEIRS = f"""
{claims.locked("SHARE")},
outcome AS MATERIALIZED (
    SELECT o.*, c.worker_id, c.at AS claimed_at
    FROM ROWS FROM (unnest(
        %(id)s::uuid[], %(fence)s::bigint[], %(state)s::smallint[], %(ended_ago)s::float8[], %(seconds)s::float8[],
        %(value)s::bytea[], %(error_type)s::text[], %(error_message)s::text[], %(traceback)s::text[], %(delay)s::float8[],
        %(began)s::boolean[], {_HEIRS}
    ), {_MANY}) AS o(id, fence, new_state, ended_ago, seconds, value, error_type, error_message, traceback, delay, began,
           heir, heir_fence)
    {claims.in_force("o.fence", "o.id")}
)
"""

_OUTCOMES = _WITH_HEIRS.replace(f", {_HEIRS}", "").replace(",\n           heir, heir_fence", "")

_NOTE_ATTEMPT = """
noted AS (
    INSERT INTO autotask_attempt (task_id, number, fence, state, worker_id, started_at, ended_at,
                                  error_type, error_message, traceback)
    SELECT e.id, {number}, e.fence, e.new_state, e.worker_id,
           e.now - (e.ended_ago + e.seconds) * interval '1 s', e.now - e.ended_ago * interval '1 s',
           coalesce(e.error_type, ''), coalesce(e.error_message, ''), coalesce(e.traceback, '')
    FROM ended e WHERE e.new_state <> 3 AND e.began
)
"""

_TTL = "CASE WHEN e.new_state = 4 THEN greatest(e.ttl, %(error_ttl)s::float8) ELSE e.ttl END"

_KEPT = columns.insert(
    "autotask_result",
    "ended e",
    (*columns.COMMON, "worker_id", "fence"),
    state="e.new_state",
    started_at="CASE WHEN e.began THEN e.now - (e.ended_ago + e.seconds) * interval '1 s' END",
    attempt="e.attempt + CASE WHEN e.began THEN 1 ELSE 0 END",
    failures="e.failures + CASE WHEN e.new_state = 4 THEN 1 ELSE 0 END",
    ended_at="e.now - e.ended_ago * interval '1 s'",
    kept_until=f"e.now + {_TTL} * interval '1 s'",
    payload="CASE WHEN e.new_state = 3 AND e.flow -> 'once' IS NULL THEN NULL ELSE e.payload END",
    value="e.value",
    # If somebody cancelled it while it ran, the reason comes first, and then what the function itself has raised.
    error_message=f"""CASE WHEN e.new_state = 5 AND e.flow ? '{columns.WHY}'
        THEN concat_ws(': ', e.flow->>'{columns.WHY}', nullif(nullif(e.error_message, ''), '{columns.TO_BE_CANCELLED}'))
        ELSE coalesce(e.error_message, '') END""",
)

_CHANNEL = "'autotask_ended_' || replace(e.id::text, '-', '')"

# Counted apart: of the rows for which nobody waits, nothing but that is read.
_COUNT = "(SELECT count(*) FROM ended)"

TELL = f"SELECT {_COUNT}, count(pg_notify({_CHANNEL}, {WORDS})) FROM ended e WHERE e.awaited"

# For the transactions of others, whose commit must not fail because of it, and for a full queue of notifications.
TELL_LATER = f"SELECT {_COUNT}, array_agg({_CHANNEL}), array_agg({WORDS}) FROM ended e WHERE e.awaited"

# The ids are also given as an array, for the same reason as in a claim.
# A task that was rescued is in another claim, or in none: it is left alone.
# The row moves from the live tasks to the results in one statement, so every reader sees it exactly once.
BY_ARRAYS = f"""
WITH {_OUTCOMES},
{claims.over("outcome")},
ended AS (
    DELETE FROM autotask_task t USING outcome o
    WHERE t.id = ANY(ARRAY(SELECT id FROM outcome)) AND t.id = o.id
    RETURNING t.*, o.fence, o.worker_id, o.new_state, o.ended_ago, o.seconds, o.value,
              o.error_type, o.error_message, o.traceback, o.began, clock_timestamp() AS now
),
kept AS ({_KEPT}),
{_NOTE_ATTEMPT.format(number="e.attempt + 1")}
"""

# A result of a success; so the expressions for other states need not be worked out.
_KEPT_DONE = columns.insert(
    "autotask_result",
    "ended e",
    (*columns.COMMON, "worker_id", "fence"),
    state=f"{State.DONE:d}",
    attempt="e.attempt + 1",
    started_at="e.now - (e.ended_ago + e.seconds) * interval '1 s'",
    ended_at="e.now - e.ended_ago * interval '1 s'",
    kept_until="e.now + e.ttl * interval '1 s'",
    value="e.value",
    error_message="''",
)

# What a success returns of its row: the payload only if it is kept, and gate and slots for those that wait for them. The one that is
# read of all rows comes first.
_OF_TASK = ", ".join(f"t.{name}" for name in columns.COMMON if name not in ("state", "started_at", "payload"))
_OF_DONE = f"""RETURNING t.awaited, {_OF_TASK}, t.gate, t.passed,
              CASE WHEN t.flow -> 'once' IS NOT NULL THEN t.payload END AS payload, o.fence, o.worker_id,
              {State.DONE:d}::smallint AS new_state, clock_timestamp() AS now"""

# Nothing but successes, as in nearly all batches: without the columns of failures, and without attempts.
BY_FEW_ARRAYS = f"""
WITH {claims.locked("SHARE")},
outcome AS MATERIALIZED (
    SELECT o.*, c.worker_id
    FROM ROWS FROM (unnest(
        %(id)s::uuid[], %(fence)s::bigint[], %(ended_ago)s::float8[], %(seconds)s::float8[], %(value)s::bytea[]
    ), {_MANY}) AS o(id, fence, ended_ago, seconds, value)
    {claims.in_force("o.fence", "o.id")}
),
{claims.over("outcome")},
ended AS (
    DELETE FROM autotask_task t USING outcome o
    WHERE t.id = ANY(ARRAY(SELECT id FROM outcome)) AND t.id = o.id
    {_OF_DONE}, o.ended_ago, o.seconds, o.value
),
kept AS ({_KEPT_DONE})
"""

# A single success, as is usual under light load: without arrays and joins it takes half the time.
BY_VALUE = f"""
WITH claim AS MATERIALIZED (
    SELECT number, worker_id, ids FROM autotask_claim
    WHERE number = %(fence)s::bigint >> {claims.PLACE_BITS} ORDER BY number FOR SHARE
),
outcome AS MATERIALIZED (
    SELECT %(id)s::uuid AS id, %(fence)s::bigint AS fence, c.worker_id, cardinality(c.ids) = 1 AS is_only_one
    FROM claim c WHERE c.ids[{claims.place("%(fence)s::bigint")}] = %(id)s::uuid
),
claims_over AS (
    DELETE FROM autotask_claim
    WHERE number = %(fence)s::bigint >> {claims.PLACE_BITS}
      AND (number = ANY(%(over)s::bigint[]) OR (SELECT is_only_one FROM outcome))
),
ended AS (
    DELETE FROM autotask_task t USING outcome o WHERE t.id = %(id)s::uuid
    {_OF_DONE}, %(ended_ago)s::float8 AS ended_ago, %(seconds)s::float8 AS seconds, %(value)s::bytea AS value
),
kept AS ({_KEPT_DONE})
"""

# The same of the last task of a claim, as is usual there. The claim is deleted and not locked before that: each would be written to
# the WAL.
BY_LAST = f"""
WITH claim AS (
    DELETE FROM autotask_claim
    WHERE number = %(fence)s::bigint >> {claims.PLACE_BITS} AND ids[{claims.place("%(fence)s::bigint")}] = %(id)s::uuid
    RETURNING worker_id
),
ended AS (
    DELETE FROM autotask_task t USING (SELECT worker_id, %(fence)s::bigint AS fence FROM claim) AS o WHERE t.id = %(id)s::uuid
    {_OF_DONE}, %(ended_ago)s::float8 AS ended_ago, %(seconds)s::float8 AS seconds, %(value)s::bytea AS value
),
kept AS ({_KEPT_DONE})
"""

# Where tasks had gates, their slots are handed on.
_HANDED = f", {slots.HANDED} FROM ended e"

# Where tasks have rows, these are written, too.
_WRITTEN = ", (SELECT count(*) FROM row_0) FROM ended e"


@functools.lru_cache(maxsize=200)
def statement(tell: str, handing_on: bool = False, table: RowTable | None = None, end: str = BY_ARRAYS) -> str:
    """Return the statement that records outcomes.

    :param tell: what it returns at its end: :data:`TELL` or :data:`TELL_LATER`.
    :param table: the one with the rows of these tasks; None: they have none.
    :param end: how it begins: :data:`BY_ARRAYS`, :data:`BY_FEW_ARRAYS`, :data:`BY_VALUE` or :data:`BY_LAST`.
    """
    if table is not None:
        kept = _KEPT if end is BY_ARRAYS else _KEPT_DONE
        is_one = end in (BY_VALUE, BY_LAST)
        of_rows = model_rows.written_one(table) if is_one else model_rows.written([table], results=True)
        end = end.replace(f"kept AS ({kept})", f"kept AS ({kept} {model_rows.RETURNING})") + of_rows
        tell = tell.replace(" FROM ended e", _WRITTEN)
    if handing_on:
        end = _with_heirs(end)
        end += f", {slots.HAND_ON}"
        tell = tell.replace(" FROM ended e", _HANDED)
    return end + tell


def _with_heirs(end: str) -> str:
    """Return the beginning of a statement with the heirs of slots."""
    few = f"::bytea[]\n    ), {_MANY}) AS o(id, fence, ended_ago, seconds, value)"
    heirs = (
        f"::bytea[],\n        {_HEIRS}\n    ), {_MANY}) AS o(id, fence, ended_ago, seconds, value, heir, heir_fence)"
    )
    end = end.replace(_OUTCOMES, _WITH_HEIRS).replace(few, heirs)
    return end.replace(", clock_timestamp() AS now", ", o.heir, o.heir_fence, clock_timestamp() AS now")


END, END_ONE, END_LAST = statement(TELL), statement(TELL, end=BY_VALUE), statement(TELL, end=BY_LAST)
END_QUIETLY, END_ONE_QUIETLY = statement(TELL_LATER), statement(TELL_LATER, end=BY_VALUE)
END_DONE, END_DONE_QUIETLY = statement(TELL, end=BY_FEW_ARRAYS), statement(TELL_LATER, end=BY_FEW_ARRAYS)
END_HANDING_ON, END_HANDING_ON_QUIETLY = statement(TELL, True), statement(TELL_LATER, True)
END_DONE_HANDING_ON = statement(TELL, True, end=BY_FEW_ARRAYS)
END_DONE_HANDING_ON_QUIETLY = statement(TELL_LATER, True, end=BY_FEW_ARRAYS)

# A task that fails just when it should be cancelled is due at once, for the next worker to record it as cancelled.
# It gives up its slots, and has to pass its gates again: "0 * passed" is NULL where there are none.
RETRY = f"""
WITH {_OUTCOMES.replace("FOR SHARE", "FOR NO KEY UPDATE")},
ended AS (
    UPDATE autotask_task t
    SET state = 0, ready_at = NULL, attempt = t.attempt + 1, failures = t.failures + 1, started_at = o.claimed_at,
        unknown_since = NULL,
        passed = 0 * t.passed, unique_key = {columns.KEY_AGAIN},
        run_at = clock_timestamp() + CASE WHEN t.cancel_requested THEN 0 ELSE coalesce(o.delay, 0) END * interval '1 s'
    FROM outcome o WHERE t.id = ANY(ARRAY(SELECT id FROM outcome)) AND t.id = o.id
    RETURNING t.id, t.attempt, t.flow, o.fence, o.worker_id, o.new_state, o.ended_ago,
              o.seconds, o.error_type, o.error_message, o.traceback, o.began, clock_timestamp() AS now
),
{claims.put_back("ended")},
marked AS ({marks.freed("ended")}),
{_NOTE_ATTEMPT.format(number="e.attempt")}
SELECT count(*) FROM ended
"""
