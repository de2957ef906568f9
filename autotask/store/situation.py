"""Read all that decides whether a task runs, in one statement, and so as it is at one moment."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import held, misplaced, pauses, read, ready
from autotask.store.connection import in_utc, rows
from autotask.store.gates_read import COUNTED, HOLDERS_OF, MOST_HOLDERS, SEEN_GATES, Holder, SeenGate, seen_gate
from autotask.store.pauses import Kind, Pause
from autotask.store.read import StoredTask
from autotask.task import BACKGROUND, PROCESS, State

#: The newest results from which is learned how long tasks take, and which workers have ended some lately.
SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class SeenWorker:
    """A registered worker; the ages are in seconds.

    :ivar seen: since its last heartbeat.
    :ivar alive: whether its lease lasts.
    :ivar executors: the pools besides its threads.
    :ivar running: how many tasks it has claimed, by executor.
    :ivar active: since it last claimed or ended a task, as far as the tables say; None: unknown.
    :ivar alone: the task that it runs alone, because another worker has died while running it; it claims no other task.
    """

    id: uuid.UUID
    kind: str
    host: str
    pid: int
    queues: str
    threads: int
    executors: tuple[str, ...]
    stopping: bool
    alive: bool
    seen: float
    running: dict[str, int]
    active: float | None
    alone: uuid.UUID | None

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}" if self.host else "a worker"


@dataclass(frozen=True, slots=True)
class Failure:
    """The last attempt that did not succeed; *is_last*: whether none has begun since."""

    number: int
    state: State
    error: str
    is_last: bool


@dataclass(frozen=True, slots=True)
class Locker:
    """The session that has locked the row of a task; *seconds*: how long its transaction has been open, None: unknown."""

    pid: int
    application: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Typical:
    """The recent run times of tasks of a name.

    :ivar seconds: the median.
    :ivar count: of how many tasks.
    """

    seconds: float
    count: int


@dataclass(frozen=True, slots=True)
class Background:
    """A background worker: whether it should run, and whether a registered worker hosts it."""

    wanted: bool
    hosted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The facts about a task and the site at one moment.

    :ivar task: without its result; None: it is not in the database.
    :ivar now: by the clock of the database.
    :ivar ready_at: since when workers may claim it.
    :ivar unknown_for: seconds since a worker did not know its function, arguments or carriers; None: none did.
    :ivar uncommitted: whether the transaction of this very session has written it, and is not committed.
    :ivar locker: who has locked its row.
    :ivar failure: its last attempt that did not succeed.
    :ivar ahead: how many ready tasks of its queue and pool are before it, counted up to ``COUNTED`` + 1.
    :ivar place: how many held tasks are before it at its gate, counted likewise.
    :ivar in_force: the pauses.
    :ivar gate: the limit, rate or pause at which it is held.
    :ivar holders: the tasks that have the slots of the gate.
    :ivar typical: how long tasks of its name take; None: none has ended lately.
    :ivar background: its background worker, if it is a message for one that is known.
    :ivar misplaced: whether it is due, and neither ready nor held nor claimed: see :mod:`autotask.store.misplaced`.
    """

    id: uuid.UUID
    now: datetime
    task: StoredTask | None = None
    ready_at: datetime | None = None
    unknown_for: float | None = None
    uncommitted: bool = False
    locker: Locker | None = None
    failure: Failure | None = None
    ahead: int = 0
    place: int = 0
    in_force: tuple[Pause, ...] = ()
    workers: tuple[SeenWorker, ...] = ()
    gate: SeenGate | None = None
    holders: tuple[Holder, ...] = ()
    typical: Typical | None = None
    background: Background | None = None
    misplaced: bool = False


# A row that the own transaction has written is seen by nobody else. Its number may be that of a savepoint: those are newer than
# that of the transaction, and count as in progress as long as it is.
_UNCOMMITTED = """
coalesce(CASE WHEN pg_current_xact_id_if_assigned() IS NOT NULL THEN (
    SELECT CASE WHEN newer < 2147483648 THEN pg_xact_status((own + newer)::text::xid8) = 'in progress' END
    FROM (SELECT pg_current_xact_id_if_assigned()::text::bigint AS own) AS mine,
         LATERAL (SELECT (live.written_by::text::bigint - own) & 4294967295 AS newer) AS distance
    OFFSET 0
) END, false)"""

# Who locks a row before it is due is in nobody's way.
_LOCKER = """
CASE WHEN (live.state IN (1, 8) OR live.state = 0 AND live.run_at <= clock_timestamp()) AND live.locked_by <> '0'::xid THEN (
    SELECT json_build_object('pid', l.pid, 'application', coalesce(a.application_name, ''), 'seconds',
                             extract(epoch FROM clock_timestamp() - a.xact_start)::float8)
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'transactionid' AND l.transactionid = live.locked_by AND l.granted LIMIT 1
)::text END"""

_FAILURE = """
(SELECT json_build_object('number', a.number, 'state', a.state, 'error', left(a.error_message, 500),
                          'is_last', coalesce(live.started_at <= a.ended_at, true))::text
 FROM autotask_attempt a WHERE a.task_id = %(id)s ORDER BY a.id + 0 DESC LIMIT 1)"""

# Each part is one range of the ready table, or of that of held tasks.
_AHEAD = f"""
CASE WHEN live.state = 1 THEN (SELECT count(*) FROM (
    SELECT FROM autotask_ready r
    WHERE r.queue = live.queue AND r.priority > live.priority AND r.executor = live.executor
    UNION ALL
    SELECT FROM autotask_ready r
    WHERE r.queue = live.queue AND r.priority = live.priority AND r.executor = live.executor AND r.ready_at < live.ready_at
    LIMIT {COUNTED + 1}
) AS first) ELSE 0 END"""

_PLACE = f"""
CASE WHEN live.state = 8 THEN (SELECT count(*) FROM ({held.BEFORE.replace("t.", "live.")}
    LIMIT {COUNTED + 1}
) AS first) ELSE 0 END"""

_PAUSES = f"""
(SELECT json_agg(json_build_array(p.kind, p.name, p.paused_at AT TIME ZONE 'UTC', p.paused_by,
                                  p.until AT TIME ZONE 'UTC', p.reason) ORDER BY p.kind, p.name)::text
 FROM autotask_pause p WHERE {pauses.IN_FORCE.format("p")})"""

# The messages of background workers that it hosts are claimed whether a suspect runs alone or not, and never run alone.
_WORKERS = f"""
(SELECT json_agg(json_build_object(
    'id', w.id, 'kind', w.kind, 'host', w.host, 'pid', w.pid, 'queues', w.queues, 'threads', w.threads,
    'executors', w.executors, 'stopping', w.stopping, 'alive', w.lease_until > clock_timestamp(),
    'seen', extract(epoch FROM clock_timestamp() - w.seen_at)::float8, 'running', busy.running, 'alone', busy.alone,
    'active', extract(epoch FROM clock_timestamp() - greatest(busy.claimed, (
        SELECT max(lately.ended_at) FROM lately WHERE lately.worker_id = w.id)))::float8
 ) ORDER BY w.started_at)::text
 FROM autotask_worker w CROSS JOIN LATERAL (
    SELECT json_object_agg(by_pool.executor, by_pool.number) AS running, max(by_pool.claimed) AS claimed,
           CASE WHEN sum(by_pool.number) FILTER (WHERE by_pool.executor <> '{BACKGROUND}') = 1
                THEN max(by_pool.suspect) END AS alone FROM (
        SELECT t.executor, count(*) AS number, max(r.at) AS claimed,
               max(t.id::text) FILTER (WHERE t.lost > 0 AND t.executor NOT IN ('{PROCESS}', '{BACKGROUND}')) AS suspect
        FROM autotask_running r JOIN autotask_task t ON t.id = r.id WHERE r.worker_id = w.id GROUP BY t.executor
    ) AS by_pool
 ) AS busy)"""

_HOLDERS = f"""
CASE WHEN live.gate LIKE 'limit:%%' THEN (
    SELECT json_agg(json_build_array(h.id, h.name, h.state, h.gate, h.seconds))::text
    FROM ({HOLDERS_OF.format(gate="live.gate", limit=MOST_HOLDERS)}) AS h
) END"""

_TYPICAL = """
CASE WHEN live.id IS NOT NULL THEN (
    SELECT json_build_array(percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM l.ended_at - l.started_at)::float8),
                            count(*))::text
    FROM lately l WHERE l.name = live.name AND l.started_at IS NOT NULL
) END"""

_BACKGROUND = """
CASE WHEN live.executor = 'background' THEN (
    SELECT json_build_array(b.wanted, EXISTS (
        SELECT FROM autotask_background_instance i JOIN autotask_worker w ON w.id = i.worker_id WHERE i.name = b.name
    ))::text
    FROM autotask_background b WHERE live.name = 'background:' || b.name
) END"""

# The planner does not know that a task is in one claim at most. Without LIMIT, it would expect every part for many rows, and with
# jit compile the statement, which takes seconds. The second LIMIT is of the claim alone: to find the first of many rows, the planner of
# PostgreSQL 14 would rather begin to read the ready table than look into its index.
SITUATION = f"""
WITH found AS MATERIALIZED (
    {read.LIVE} WHERE id = %(id)s UNION ALL {read.WITHOUT_VALUE} WHERE id = %(id)s
    UNION ALL {read.PAST} WHERE id = %(id)s LIMIT 1
),
live AS MATERIALIZED (
    SELECT t.id, CASE WHEN r.id IS NULL THEN t.state ELSE 2 END AS state, t.name, t.queue, t.priority, t.executor, t.run_at,
           t.ready_at, coalesce(r.at, t.started_at) AS started_at, t.unknown_since, t.gate, t.xmin AS written_by,
           CASE WHEN t.xmax <> '0'::xid THEN t.xmax ELSE coalesce(y.xmax, h.xmax, t.xmax) END AS locked_by,
           t.state <> 0 AND r.id IS NULL AND y.id IS NULL AND h.id IS NULL AS is_elsewhere
    FROM autotask_task t
    LEFT JOIN LATERAL (SELECT r.id, r.at FROM autotask_running r WHERE r.id = t.id LIMIT 1) AS r ON true
    LEFT JOIN autotask_ready y ON {ready.IS_OF.replace("r.", "y.")}
    LEFT JOIN autotask_held h ON {held.IS_OF}
    WHERE t.id = %(id)s
),
lately AS MATERIALIZED (
    SELECT name, worker_id, started_at, ended_at FROM (
        SELECT r.name, r.worker_id, r.started_at, r.ended_at FROM autotask_result r ORDER BY r.id DESC LIMIT {SAMPLE}
    ) AS newest
    WHERE ended_at > statement_timestamp() - interval '1 h'
)
SELECT clock_timestamp() AT TIME ZONE 'UTC', live.ready_at AT TIME ZONE 'UTC',
       extract(epoch FROM clock_timestamp() - live.unknown_since)::float8,
       {_UNCOMMITTED}, {_LOCKER}, {_FAILURE}, {_AHEAD}, {_PLACE}, {_PAUSES}, {_WORKERS}, {_HOLDERS}, {_TYPICAL}, {_BACKGROUND},
       coalesce(live.is_elsewhere, false), gate.*, found.*
FROM (SELECT) AS one
LEFT JOIN found ON true
LEFT JOIN live ON true
LEFT JOIN LATERAL ({SEEN_GATES.format(gates="(SELECT live.gate)")}) AS gate
       ON live.state = 8
"""

#: The columns before those of the gate, and those of the gate.
_OWN, _GATE = 14, 7


def read_situation(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Situation:
    """Return the facts about a task, whether it exists or not."""
    row = rows(connection, SITUATION, {"id": id})[0]
    (
        now,
        ready_at,
        unknown_for,
        uncommitted,
        locker,
        failure,
        ahead,
        place,
        paused,
        workers,
        held,
        typical,
        background,
        is_elsewhere,
    ) = row[:_OWN]
    gate, task = row[_OWN : _OWN + _GATE], row[_OWN + _GATE :]
    seconds, sample = json.loads(typical) if typical else (0.0, 0)
    return Situation(
        id=id,
        now=in_utc(now),
        task=None if task[0] is None and not any(task) else read.stored(task),
        ready_at=in_utc(ready_at),
        unknown_for=unknown_for,
        uncommitted=uncommitted,
        locker=Locker(**json.loads(locker)) if locker else None,
        failure=_failure(**json.loads(failure)) if failure else None,
        ahead=ahead,
        place=place,
        in_force=tuple(_pause(*each) for each in json.loads(paused or "[]")),
        workers=tuple(_worker(**each) for each in json.loads(workers or "[]")),
        gate=None if gate[0] is None else seen_gate(gate),
        holders=tuple(_holder(*each) for each in json.loads(held or "[]")),
        typical=Typical(seconds, sample) if sample else None,
        background=Background(*json.loads(background)) if background else None,
        misplaced=is_elsewhere and misplaced.is_misplaced(connection, id),
    )


def _failure(number: int, state: int, error: str, is_last: bool) -> Failure:
    return Failure(number, State(state), error, is_last)


def _pause(kind: str, name: str, at: str, by: str, until: str | None, reason: str) -> Pause:
    return Pause(Kind(kind), name, _moment(at), by, None if until is None else _moment(until), reason)


def _holder(id: str, name: str, state: int, gate: str | None, seconds: float | None) -> Holder:
    return Holder(uuid.UUID(id), name, State(state), gate, seconds)


def _worker(*, id: str, executors: str, running: dict[str, int] | None, alone: str | None, **fields: Any) -> SeenWorker:
    pools = tuple(executors.split(",")) if executors else ()
    suspect = uuid.UUID(alone) if alone else None
    return SeenWorker(id=uuid.UUID(id), executors=pools, running=running or {}, alone=suspect, **fields)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
