"""Take due tasks for a worker: SKIP LOCKED, lane by lane, within limits."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, columns, pauses
from autotask.store.connection import in_utc
from autotask.store.gates import IS_DUE
from autotask.store.isolation import Refusals
from autotask.store.prepared import prepared_rows
from autotask.store.promote import UNTIL_DUE
from autotask.task import THREAD, ClaimedTask


@dataclass(frozen=True, slots=True)
class Lane:
    """The ready tasks of one queue and priority that run in the same pool."""

    queue: str
    priority: int
    executor: str = THREAD


#: An id that comes before those of all tasks.
BEFORE_ALL = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class BoundedLane:
    """A lane, and where the search for its tasks starts.

    :ivar since: the moment; None: at the beginning.
    :ivar after: the task of that moment after which it starts; by default before the first one.
    """

    lane: Lane
    since: datetime | None
    after: uuid.UUID = BEFORE_ALL


#: The value in place of a priority in the row that holds the time until the next task is due.
_DUE = 1000

#: The priority of the place before all lanes, where a look begins.
_BEGINNING = -1000

# A loose index scan: one descent of the ready table for each lane that exists, however many tasks are in it.
# (PostgreSQL wiki, "Loose indexscan".) It begins before all lanes, and again behind each one that is sure to have tasks, and then
# ends before the next of these: in those lanes a long transaction may keep the dead entries of all that was claimed.
# Before PostgreSQL 18, a scan does not end where a comparison of rows fails by their second column. "Before the next" is that of three
# searches in this order: in queues before its queue, in its queue at lower priorities, and at its priority for other executors.
# Suspects are rare, and have an index of their own. Marks, pauses and the next task that is due are looked for along with them, at
# the price of a look into tables that are nearly always empty and at the first entry of an index, and no statement more.
LANES = (
    f"""
WITH RECURSIVE lane AS (
    SELECT queue, priority, executor, lead(queue) OVER sure AS before_queue, lead(priority) OVER sure AS before_priority,
           lead(executor) OVER sure AS before_executor
    FROM (
        SELECT '' AS queue, {_BEGINNING}::smallint AS priority, '' AS executor
        UNION ALL
        SELECT * FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(executors)s::text[])
    ) AS known
    WINDOW sure AS (ORDER BY queue, priority, executor)
    UNION ALL
    SELECT following.queue, following.priority, following.executor, before_queue, before_priority, before_executor
    FROM lane CROSS JOIN LATERAL (
        (SELECT r.queue, r.priority, r.executor FROM autotask_ready r
         WHERE (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
           AND before_queue IS NULL AND {{known}}
         ORDER BY r.queue, r.priority, r.executor LIMIT 1)
        UNION ALL
        (SELECT r.queue, r.priority, r.executor FROM autotask_ready r
         WHERE (r.queue, r.priority, r.executor) > (lane.queue, lane.priority, lane.executor)
           AND r.queue < before_queue AND {{known}}
         ORDER BY r.queue, r.priority, r.executor LIMIT 1)
        UNION ALL
        (SELECT r.queue, r.priority, r.executor FROM autotask_ready r
         WHERE r.queue = before_queue AND r.priority < before_priority
           AND (r.priority, r.executor) > (CASE lane.queue WHEN before_queue THEN lane.priority ELSE {_BEGINNING} END,
                                           CASE lane.queue WHEN before_queue THEN lane.executor ELSE '' END) AND {{known}}
         ORDER BY r.queue, r.priority, r.executor LIMIT 1)
        UNION ALL
        (SELECT r.queue, r.priority, r.executor FROM autotask_ready r
         WHERE r.queue = before_queue AND r.priority = before_priority AND r.executor < before_executor
           AND (r.executor, r.ready_at) > (
               CASE WHEN (lane.queue, lane.priority) = (before_queue, before_priority) THEN lane.executor ELSE '' END,
               CASE WHEN (lane.queue, lane.priority) = (before_queue, before_priority) THEN 'infinity' ELSE '-infinity' END::timestamptz
           ) AND {{known}}
         ORDER BY r.queue, r.priority, r.executor LIMIT 1)
        LIMIT 1
    ) AS following
)
SELECT queue, priority, executor, false FROM lane WHERE priority <> {_BEGINNING}
UNION ALL
(SELECT DISTINCT r.queue, r.priority, r.executor, true FROM autotask_ready r WHERE r.suspect AND {{known}})
UNION ALL
SELECT p.name, 0::smallint, p.kind, NULL FROM autotask_pause p WHERE {{in_force}}
UNION ALL
SELECT NULL, NULL, NULL, NULL WHERE """
    + IS_DUE
    + f"""
UNION ALL
SELECT due.seconds::text, {_DUE}::smallint, NULL, NULL FROM ({UNTIL_DUE}) AS due(seconds) WHERE due.seconds IS NOT NULL"""
)

#: The fields that a claim returns, and expressions for those that differ from their columns.
_RECORD = ClaimedTask._fields[: ClaimedTask._fields.index("worker_id")]
_HELD = {
    "fence": claims.FENCE,
    "attempt": "t.attempt + 1",
    "unknown_for": "extract(epoch FROM clock_timestamp() - t.unknown_since)::float8",
    "ready_at": "t.ready_at AT TIME ZONE 'UTC'",
    "scheduled_for": "t.scheduled_for AT TIME ZONE 'UTC'",
    # A task with no more than a unique key frees that with its outcome, like a plain one: it has no slots to hand on.
    "flow": "CASE WHEN t.passed IS NOT NULL OR t.flow ? 'once' THEN t.flow::text END",
    "late": "CASE WHEN t.expires_at <= at THEN extract(epoch FROM at - t.expires_at)::float8 END",
}
#: Of a task ``t`` in a new claim with ``number`` and ``at``, at its ``place``.
FIELDS = ", ".join(_HELD.get(name, f"t.{name}") for name in _RECORD)
#: The columns that it reads.
COLUMNS = tuple(name for name in _RECORD if name not in ("fence", "late", "unknown_for")) + (
    "unknown_since",
    "expires_at",
    "passed",
)
#: The fields between these two come from the driver as they are not kept: without a zone, and perhaps as a view.
_FIRST, _AFTER = _RECORD.index("ready_at"), _RECORD.index("payload") + 1
_READY_AT, _ID, _PRIORITY = map(_RECORD.index, ("ready_at", "id", "priority"))

# * MATERIALIZED, because a subquery that the planner may run again would lock and take more rows than its limit.
# * One descent of the ready table for each lane, in the order of the array; the nested loop stops at the limit, so later
#   lanes are neither read nor locked. "queue = ANY" with an ordered limit would sort the whole table.
# * Picked rows are deleted by their addresses: they are locked, so nobody moves them. Those of the tasks are looked up by an
#   array. In a join, where statistics say that the table is empty, as after it was drained and vacuumed, the planner would
#   compare each of its rows to each picked one.
# * The tasks themselves are not written: a claim costs one row, however many tasks are in it.
# * The lower bound skips the dead entries of tasks claimed before, which a long transaction anywhere keeps alive, and also the last
#   of them: PostgreSQL would mark it as dead, and perhaps write its whole page of the index to the WAL for that.
# * A worker whose lease has run out gets nothing: its tasks may have been rescued already.
# * The limits are part of the text: as parameters they would make the planner guess.
# * Suspects are left out, unless no worker has been idle to take them for half a minute.
# * Expired tasks are claimed like the rest, for the worker to end them: the index need not know about them.
# * Where arguments may be too large for the worker, their sizes are added up in the order of picking, without reading the
#   arguments. The first task is taken however large it is.
# * Only a few tasks are written after all: a key that is held until its task begins is free from here on, and the progress of
#   an earlier attempt is over.
ALIVE = """
alive AS MATERIALIZED (
    SELECT 1 FROM autotask_worker WHERE id = %(worker_id)s::uuid AND lease_until > clock_timestamp()
)"""

CLAIM = (
    f"WITH {ALIVE},"
    + """
picked AS MATERIALIZED (
    SELECT chosen.address{its_size}
    FROM unnest(%(queues)s::text[], %(priorities)s::smallint[], %(executors)s::text[], %(since)s::timestamptz[],
                %(after)s::uuid[]) AS lane(queue, priority, executor, since, after)
    CROSS JOIN LATERAL (
        SELECT r.ctid AS address{size} FROM autotask_ready r
        WHERE r.queue = lane.queue AND r.priority = lane.priority AND r.executor = lane.executor
          AND (r.ready_at, r.id) > (lane.since, lane.after) AND {which} AND {known}
        ORDER BY r.ready_at LIMIT {per_lane}
        FOR UPDATE SKIP LOCKED
    ) AS chosen
    WHERE EXISTS (SELECT 1 FROM alive)
    LIMIT {limit}
){bounded}"""
    + f""",
gone AS (
    DELETE FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM {{taken}})) RETURNING id, resets
),
{claims.MADE},
reset AS (
    UPDATE autotask_task t SET unique_key = {columns.KEY_AGAIN}, progress_done = NULL, progress_total = NULL
    WHERE t.id = ANY(ARRAY(SELECT id FROM gone WHERE resets))
)
SELECT {FIELDS}{claims.MADE_TASKS}"""
)

#: The parts of a claim that count bytes: where it need not count them, and where it must.
UNBOUNDED = {"size": "", "its_size": "", "bounded": "", "taken": "picked"}
_BOUNDED = {
    "size": ", (SELECT octet_length(t.payload) FROM autotask_task t WHERE t.id = r.id) AS size",
    "its_size": ", chosen.size",
    "bounded": """,
fitting AS MATERIALIZED (
    SELECT address FROM (
        SELECT address, sum(size) OVER (ROWS UNBOUNDED PRECEDING) - size AS before FROM picked
    ) AS counted
    WHERE before < %(most_bytes)s::bigint
)""",
    "taken": "fitting",
}

# A pool claims from its own lanes only, as many tasks as it has room for. So the claims of one pool neither take nor read
# past the tasks that wait for another, full one, however many there are: the executor is a column of the index.

#: The tasks of a lane that a claim takes.
INNOCENT = "(NOT r.suspect OR r.ready_at < statement_timestamp() - interval '30 s')"
SUSPECT = "r.suspect"
ALL = "true"


def only(id: uuid.UUID) -> str:
    """Return the condition with which a claim takes just this task."""
    return f"r.id = '{id}'"


def refusals() -> Refusals[uuid.UUID]:
    """Return a memory for the tasks that the database refuses to claim or release."""
    return Refusals("The task %s cannot be claimed")


# The tasks that the claim would take, for when the database refuses one of them.
CANDIDATES = (
    CLAIM.partition(",\ngone AS ")[0]
    + "\nSELECT id FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM {taken}))"
)


# Unknown tasks, left for newer workers, and paused ones are looked up among the tasks: they are rare, and cost nothing while
# there are none.
_KNOWN = "NOT (t.unknown_since IS NOT NULL AND t.name = ANY(%(unknown_names)s::text[]))"

# Tasks of paused names are left out until they are held. One that should be cancelled is claimed, to record that.
#: CASE, since the planner must not guess from its statistics that few tasks are left, and sort them all.
_NOT_PAUSED = "CASE WHEN t.cancel_requested THEN true ELSE t.name <> ALL(%(paused_names)s::text[]) END"


class Found(NamedTuple):
    """The result of a look for work.

    :ivar lanes: those with ready tasks.
    :ivar suspected: those with suspects.
    :ivar marked: whether a gate is marked.
    :ivar paused: the kind and name of each pause.
    :ivar due: the seconds until a scheduled task is due; not positive if one is, None if there is none.
    """

    lanes: list[Lane]
    suspected: list[Lane]
    marked: bool
    paused: frozenset[tuple[str, str]]
    due: float | None = None


def find_lanes(
    connection: BaseDatabaseWrapper,
    *,
    unknown_names: Sequence[str] = (),
    paused_names: Sequence[str] = (),
    spared: Sequence[uuid.UUID] = (),
    sure: Sequence[Lane] = (),
) -> Found:
    """Look for ready tasks, without the *spared* ones, for marks, and for pauses.

    :param sure: lanes that have tasks; these are found without a look at them.
    """
    words = {"known": _known(unknown_names, paused_names, spared), "in_force": pauses.IN_FORCE.format("p")}
    params = {**_columns(sure), **_names(unknown_names, paused_names)}
    found = prepared_rows(connection, LANES.format(**words), params)
    lanes, suspected = ([Lane(*lane) for *lane, suspect in found if suspect is which] for which in (False, True))
    others = [(kind, name) for name, what, kind, suspect in found if suspect is None and what != _DUE]
    due = next((float(seconds) for seconds, what, *_ in found if what == _DUE), None)
    return Found(lanes, suspected, (None, None) in others, frozenset(others) - {(None, None)}, due)


def claim(
    connection: BaseDatabaseWrapper,
    worker_id: uuid.UUID,
    lanes: Sequence[BoundedLane],
    *,
    per_lane: int,
    limit: int,
    which: str = INNOCENT,
    most_bytes: int | None = None,
    unknown_names: Sequence[str] = (),
    paused_names: Sequence[str] = (),
    refused: Refusals[uuid.UUID] | None = None,
) -> list[ClaimedTask]:
    """Take up to *limit* tasks, at most *per_lane* of each lane, earlier lanes first; never more than fit into one claim.

    :param most_bytes: no further task is taken once the arguments have this many bytes; None: no limit.
    :param which: :data:`INNOCENT`, :data:`SUSPECT`, :data:`ALL` or what :func:`only` returns.
    :param unknown_names: tasks of these names that were released as unknown before are left for others.
    :param paused_names: tasks of these names are left alone.
    :param refused: remembers tasks that the database has refused before, so that they do not hold up others.
    :returns: the claimed tasks, best first.
    """
    refused = refusals() if refused is None else refused
    known = _known(unknown_names, paused_names, refused.spared())
    params = {
        "worker_id": worker_id,
        **_columns([bounded.lane for bounded in lanes]),
        # Not NULL, which is a text to a session with array_nulls = off, and a worker cannot set up those of a pooler.
        "since": arrays.moments([bounded.since for bounded in lanes], none="-infinity"),
        "after": arrays.uuids([bounded.after for bounded in lanes]),
        **_names(unknown_names, paused_names),
        "most_bytes": most_bytes,
    }
    size = UNBOUNDED if most_bytes is None else _BOUNDED

    def take(which: str, sql: str = CLAIM) -> list[tuple[Any, ...]]:
        words = {
            "per_lane": int(per_lane),
            "limit": min(int(limit), claims.MOST),
            "which": which,
            "known": known,
            **size,
        }
        return prepared_rows(connection, sql.format(**words), params)

    parts = refused.run_found(
        lambda: take(which),
        lambda: [id for (id,) in take(which, CANDIDATES)],
        lambda ids: take(f"{which} AND r.id = {arrays.any_of(ids)}"),
    )
    claimed = [record(row, worker_id) for part in parts for row in part]
    # Twice, since itemgetter() takes a third of the time of a function of our own. The rows come nearly sorted.
    claimed.sort(key=itemgetter(_READY_AT, _ID))
    claimed.sort(key=itemgetter(_PRIORITY), reverse=True)
    return claimed


def _columns(lanes: Sequence[Lane]) -> dict[str, str]:
    return {
        "queues": arrays.texts([lane.queue for lane in lanes]),
        "priorities": arrays.numbers([lane.priority for lane in lanes]),
        "executors": arrays.texts([lane.executor for lane in lanes]),
    }


def _names(unknown: Sequence[str], paused: Sequence[str]) -> dict[str, str]:
    return {"unknown_names": arrays.texts(unknown), "paused_names": arrays.texts(paused)}


def _known(unknown_names: Sequence[str], paused_names: Sequence[str], spared: Sequence[uuid.UUID]) -> str:
    conditions = [_KNOWN] * bool(unknown_names) + [_NOT_PAUSED] * bool(paused_names)
    known = "true"
    if conditions:
        # Not EXISTS, which the planner may turn into a join with the whole table.
        known = f"coalesce((SELECT {' AND '.join(conditions)} FROM autotask_task t WHERE t.id = r.id), false)"
    return f"{known} AND r.id <> ALL('{arrays.uuids(spared)}'::uuid[])" if spared else known


def record(row: tuple[Any, ...], worker_id: uuid.UUID) -> ClaimedTask:
    """Return the claimed task of a row of :data:`FIELDS`."""
    (id, fence, name, queue, priority, attempt, failures, lost, retries, unknown_for, ready_at, scheduled_for, payload,
     cancel_requested, late, at_most_once, timeout, flow) = row  # fmt: skip
    if type(payload) is not bytes:  # a view, with psycopg2
        payload = bytes(payload)
    return tuple.__new__(ClaimedTask, (
        id, fence, name, queue, priority, attempt, failures, lost, retries, unknown_for, in_utc(ready_at),
        in_utc(scheduled_for), payload, cancel_requested, late, at_most_once, timeout, flow, worker_id, "", b"",
    ))  # fmt: skip
