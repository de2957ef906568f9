"""Record how attempts ended, only while the claims are still ours."""

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, columns, marks, model_rows, notify, slots
from autotask.store.connection import rows, text
from autotask.store.model_rows import RowTable
from autotask.store.prepared import prepared_rows
from autotask.store.progress import Claim
from autotask.store.told import WORDS
from autotask.task import State


class Outcome(NamedTuple):
    """How one attempt ended.

    :ivar state: DONE, ERROR, CANCELLED or RETRY.
    :ivar ended_at: when the attempt ended, on the monotonic clock of the process.
    :ivar value: the signed result.
    :ivar delay: seconds until the next attempt, for RETRY.
    :ivar began: whether the function was called; a task cancelled or expired before that has no attempt.
    :ivar recorded: whether the transaction of the function has recorded it already.
    """

    id: uuid.UUID
    fence: int
    state: State
    ended_at: float
    seconds: float
    value: bytes | None = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    delay: float = 0.0
    began: bool = True
    recorded: bool = False


@dataclass(slots=True)
class HandingOn:
    """Gives the slots of tasks that end to those that wait for them.

    :ivar slots: the present number of slots of each limit, by its base.
    :ivar heirs: the claims that have begun in the slots of tasks that end, by the fences of these.
    :ivar admitted: how many tasks have become ready.
    :ivar marked: how many gates are to be looked at.
    :ivar inherited: the ids of the heirs that have their slots now.
    :ivar gates: those at which others were waiting.
    """

    slots: Mapping[str, int]
    heirs: Mapping[int, Claim] = field(default_factory=dict)
    admitted: int = 0
    marked: int = 0
    inherited: frozenset[uuid.UUID] = frozenset()
    gates: Sequence[str] = ()


@dataclass(slots=True)
class RowEnds:
    """Writes outcomes to the rows of model tasks.

    :ivar table: the one with the rows.
    :ivar results: as JSON, by the ids of the tasks.
    :ivar missed: how many rows were not written, because somebody has locked or deleted them.
    """

    table: RowTable
    results: Mapping[uuid.UUID, str]
    missed: int = 0


#: Records outcomes: on a connection, by the monotonic clock, with the least time to live of errors, notifying or not.
_End = Callable[[BaseDatabaseWrapper, Sequence[Outcome], float, float, bool], tuple[Any, ...]]

#: Up to this many outcomes, the plan of a prepared statement is as good as one made for their number.
FEW = 10

_WITH_HEIRS = """
outcome AS (
    SELECT * FROM unnest(
        %(id)s::uuid[], %(fence)s::bigint[], %(state)s::smallint[], %(ended_ago)s::float8[], %(seconds)s::float8[],
        %(value)s::bytea[], %(error_type)s::text[], %(error_message)s::text[], %(traceback)s::text[], %(delay)s::float8[],
        %(began)s::boolean[], %(heir)s::uuid[], %(heir_fence)s::bigint[]
    ) AS o(id, fence, new_state, ended_ago, seconds, value, error_type, error_message, traceback, delay, began,
           heir, heir_fence)
)
"""

_OUTCOMES = _WITH_HEIRS.replace(", %(heir)s::uuid[], %(heir_fence)s::bigint[]", "").replace(
    ",\n           heir, heir_fence", ""
)

_NOTE_ATTEMPT = """
noted AS (
    INSERT INTO autotask_attempt (task_id, number, fence, state, worker_id, started_at, ended_at,
                                  error_type, error_message, traceback)
    SELECT e.id, e.attempt, e.old_fence, e.new_state, e.old_worker_id,
           e.now - (e.ended_ago + e.seconds) * interval '1 s', e.now - e.ended_ago * interval '1 s',
           coalesce(e.error_type, ''), coalesce(e.error_message, ''), coalesce(e.traceback, '')
    FROM ended e WHERE e.new_state <> 3 AND e.began
)
"""

_TTL = "CASE WHEN e.new_state = 4 THEN greatest(e.ttl, %(error_ttl)s::float8) ELSE e.ttl END"

_KEPT = columns.insert(
    "autotask_result",
    "ended e",
    columns.COMMON,
    state="e.new_state",
    started_at="CASE WHEN e.began THEN e.now - (e.ended_ago + e.seconds) * interval '1 s' END",
    attempt="e.attempt - CASE WHEN e.began THEN 0 ELSE 1 END",
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

_TELL = f"SELECT count(*), count(CASE WHEN e.awaited THEN pg_notify({_CHANNEL}, {WORDS}) END) FROM ended e"

# For the transactions of others, whose commit must not fail because of it, and for a full queue of notifications.
_TELL_LATER = f"""
SELECT count(*), array_agg({_CHANNEL}) FILTER (WHERE e.awaited), array_agg({WORDS}) FILTER (WHERE e.awaited) FROM ended e
"""

# The ids are also given as an array, for the same reason as in a claim.
# The only conditions are id and fence: with more, the planner would take the index of running rows, which is full of dead
# entries. A task that was rescued has another fence, or none: it is left alone.
# The row moves from the live tasks to the results in one statement, so every reader sees it exactly once.
_END = f"""
WITH {_OUTCOMES},
ended AS (
    DELETE FROM autotask_task t USING outcome o
    WHERE t.id = ANY(ARRAY(SELECT id FROM outcome)) AND t.id = o.id AND t.fence = o.fence
    RETURNING t.*, t.fence AS old_fence, t.worker_id AS old_worker_id, o.new_state, o.ended_ago, o.seconds, o.value,
              o.error_type, o.error_message, o.traceback, o.began, clock_timestamp() AS now
),
kept AS ({_KEPT}),
{_NOTE_ATTEMPT}
"""

# A single success, as is usual under light load: without arrays, joins and attempts it takes a quarter less time.
_END_ONE = f"""
WITH ended AS (
    DELETE FROM autotask_task t WHERE t.id = %(id)s::uuid AND t.fence = %(fence)s::bigint
    RETURNING t.*, {State.DONE:d}::smallint AS new_state, %(ended_ago)s::float8 AS ended_ago,
              %(seconds)s::float8 AS seconds, %(value)s::bytea AS value, '' AS error_message, true AS began,
              clock_timestamp() AS now
),
kept AS ({_KEPT})
"""

# Where tasks had gates, their slots are handed on.
_HANDED = f", {slots.HANDED} FROM ended e"

# Where tasks have rows, these are written, too.
_WRITTEN = ", (SELECT count(*) FROM row_0) FROM ended e"


@functools.lru_cache(maxsize=200)
def _statement(tell: str, handing_on: bool = False, table: RowTable | None = None, end: str = _END) -> str:
    """Return the statement that records outcomes.

    :param tell: what it returns at its end: :data:`_TELL` or :data:`_TELL_LATER`.
    :param table: the one with the rows of these tasks; None: they have none.
    :param end: how it begins: :data:`_END` or :data:`_END_ONE`.
    """
    if table is not None:
        end = end.replace(f"kept AS ({_KEPT})", f"kept AS ({_KEPT} {model_rows.RETURNING})")
        end += model_rows.written([table], results=True)
        tell = tell.replace(" FROM ended e", _WRITTEN)
    if handing_on:
        end = end.replace(_OUTCOMES, _WITH_HEIRS).replace("o.began, clock", "o.began, o.heir, o.heir_fence, clock")
        end += f", {slots.HAND_ON}"
        tell = tell.replace(" FROM ended e", _HANDED)
    return end + tell


END, END_ONE = _statement(_TELL), _statement(_TELL, end=_END_ONE)
END_QUIETLY, END_ONE_QUIETLY = _statement(_TELL_LATER), _statement(_TELL_LATER, end=_END_ONE)
END_HANDING_ON, END_HANDING_ON_QUIETLY = _statement(_TELL, True), _statement(_TELL_LATER, True)

# A task that fails just when it is to be cancelled is due at once, for the next worker to record it as cancelled.
# It gives up its slots, and has to pass its gates again: "0 * passed" is NULL where there are none.
RETRY = f"""
WITH {_OUTCOMES},
ended AS (
    UPDATE autotask_task t
    SET state = 0, ready_at = NULL, failures = t.failures + 1, fence = NULL, worker_id = NULL, unknown_since = NULL,
        passed = 0 * t.passed, unique_key = {columns.KEY_AGAIN},
        run_at = clock_timestamp() + CASE WHEN t.cancel_requested THEN 0 ELSE coalesce(o.delay, 0) END * interval '1 s'
    FROM outcome o WHERE t.id = ANY(ARRAY(SELECT id FROM outcome)) AND t.id = o.id AND t.fence = o.fence
    RETURNING t.id, t.attempt, t.flow, o.fence AS old_fence, %(worker_id)s::uuid AS old_worker_id, o.new_state, o.ended_ago,
              o.seconds, o.error_type, o.error_message, o.traceback, o.began, clock_timestamp() AS now
),
marked AS ({marks.freed("ended")}),
{_NOTE_ATTEMPT}
SELECT count(*) FROM ended
"""

# Both tables keep the fence of a recorded outcome, and no two claims have the same. So outcomes recorded now, or by an
# earlier try whose COMMIT got no answer, can be distinguished from those that were not accepted.
RECORDED = """
SELECT id FROM autotask_result WHERE id = ANY(%(id)s::uuid[]) AND fence = ANY(%(fence)s::bigint[])
UNION ALL
SELECT task_id FROM autotask_attempt
WHERE task_id = ANY(%(id)s::uuid[]) AND fence = ANY(%(fence)s::bigint[]) AND state <> 7
"""


def end(
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    *,
    now: float,
    error_ttl: float,
    handing_on: HandingOn | None = None,
    row_ends: RowEnds | None = None,
) -> int:
    """Record the outcomes DONE, ERROR and CANCELLED.

    :param now: the monotonic clock of the process.
    :param error_ttl: seconds for which errors are kept at least.
    :param handing_on: hands on the slots of the tasks; None: they have none.
    :param row_ends: writes to the rows of the tasks; None: they have none.
    :returns: how many were accepted. The others were rescued, cancelled or deleted, or are recorded already: ask
        :func:`recorded`.
    """
    end_these: _End
    if handing_on:
        end_these = functools.partial(_end_handing_on, handing_on, row_ends)
    elif row_ends:
        end_these = functools.partial(_end_rows, row_ends)
    elif _is_one(outcomes):
        end_these = _end_one
    else:
        end_these = _end_many
    if connection.in_atomic_block:
        count, channels, words, *_ = end_these(connection, outcomes, now, error_ttl, False)
        if channels:
            notify.tell_after_commit(connection, dict(zip(channels, words, strict=True)))
    else:
        count, *_ = notify.tell_or_not(connection, functools.partial(end_these, connection, outcomes, now, error_ttl))
    return int(count)


def _end_many(
    connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], now: float, error_ttl: float, telling: bool
) -> tuple[Any, ...]:
    run = prepared_rows if len(outcomes) <= FEW else rows
    params = {**_columns(outcomes, now), "error_ttl": error_ttl}
    return run(connection, END if telling else END_QUIETLY, params)[0]


def _end_rows(
    row_ends: RowEnds,
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    now: float,
    error_ttl: float,
    telling: bool,
) -> tuple[Any, ...]:
    run = prepared_rows if len(outcomes) <= FEW else rows
    tell, one = _TELL if telling else _TELL_LATER, _is_one(outcomes)
    params = {
        **(_values(outcomes[0], now) if one else _columns(outcomes, now)),
        "error_ttl": error_ttl,
        **model_rows.result_parameters(row_ends.results),
    }
    found = run(connection, _statement(tell, table=row_ends.table, end=_END_ONE if one else _END), params)[0]
    row_ends.missed = found[0] - found[-1]
    return found


def _end_handing_on(
    handing_on: HandingOn,
    row_ends: RowEnds | None,
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    now: float,
    error_ttl: float,
    telling: bool,
) -> tuple[Any, ...]:
    heirs = [handing_on.heirs.get(outcome.fence) for outcome in outcomes] if handing_on.heirs else []
    params = {
        **_columns(outcomes, now),
        "error_ttl": error_ttl,
        **slots.parameters(handing_on.slots),
        "heir": arrays.maybe_uuids([heir and heir[0] for heir in heirs]),
        "heir_fence": arrays.maybe_numbers([heir and heir[1] for heir in heirs]),
    }
    sql = END_HANDING_ON if telling else END_HANDING_ON_QUIETLY
    if row_ends:
        sql = _statement(_TELL if telling else _TELL_LATER, True, row_ends.table)
        params |= model_rows.result_parameters(row_ends.results)
    found = prepared_rows(connection, sql, params)[0]
    *_, wrote, inherited, gates, admitted, marked = found
    if row_ends:
        row_ends.missed = found[0] - wrote
    handing_on.inherited = frozenset(inherited or ())
    handing_on.gates = gates or ()
    handing_on.admitted += admitted
    handing_on.marked += marked
    return found


def _end_one(
    connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], now: float, error_ttl: float, telling: bool
) -> tuple[Any, ...]:
    params = {**_values(outcomes[0], now), "error_ttl": error_ttl}
    return prepared_rows(connection, END_ONE if telling else END_ONE_QUIETLY, params)[0]


def retry(connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], *, now: float, worker_id: uuid.UUID) -> int:
    """Schedule the next attempt of tasks that failed; return how many were accepted, as :func:`end` does."""
    return int(rows(connection, RETRY, {**_columns(outcomes, now), "worker_id": worker_id})[0][0])


def recorded(connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """Return the ids whose outcome is recorded with just this fence."""
    ids, fences = arrays.uuids(o.id for o in outcomes), arrays.numbers(o.fence for o in outcomes)
    found = rows(connection, RECORDED, {"id": ids, "fence": fences})
    return {row[0] for row in found}


def _is_one(outcomes: Sequence[Outcome]) -> bool:
    """Whether it is a single success."""
    return len(outcomes) == 1 and outcomes[0].state is State.DONE and outcomes[0].began


def _values(outcome: Outcome, now: float) -> dict[str, Any]:
    return {
        "id": outcome.id,
        "fence": outcome.fence,
        "ended_ago": now - outcome.ended_at,
        "seconds": outcome.seconds,
        "value": outcome.value,
    }


def _columns(outcomes: Sequence[Outcome], now: float) -> dict[str, str]:
    return {
        "id": arrays.uuids([o.id for o in outcomes]),
        "fence": arrays.numbers([o.fence for o in outcomes]),
        "state": arrays.numbers([o.state.value for o in outcomes]),
        "ended_ago": arrays.numbers([now - o.ended_at for o in outcomes]),
        "seconds": arrays.numbers([o.seconds for o in outcomes]),
        "value": _or_none(arrays.binaries, [o.value for o in outcomes]),
        "error_type": _or_none(arrays.texts, [text(o.error_type, 500) for o in outcomes]),
        "error_message": _or_none(arrays.texts, [text(o.error_message, 10_000) for o in outcomes]),
        "traceback": _or_none(arrays.texts, [text(o.traceback) for o in outcomes]),
        "delay": _or_none(arrays.numbers, [o.delay for o in outcomes]),
        "began": arrays.flags([o.began for o in outcomes]),
    }


def _or_none(literal: Callable[[list[Any]], str], values: list[Any]) -> str:
    # Most outcomes are successes without a value. unnest() pads shorter arrays with NULL.
    return literal(values) if any(values) else "{}"
