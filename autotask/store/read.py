"""Read tasks, their attempts, and workers."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Annotated, Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.context import Progress
from autotask.store import arrays, claims, columns
from autotask.store.columns import Carried, MaybeMoment, Moment, Stored
from autotask.store.connection import aware, execute, rows
from autotask.store.notify import ChannelListener, ended_channel
from autotask.task import State


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask(Carried):
    """A task in the database, live or finished, or what is kept of one whose result is gone.

    :ivar gone_at: when its result was pruned; None: it is there.
    """

    id: uuid.UUID
    state: Annotated[State, Stored("smallint", arrays.numbers, State)]
    created_at: Moment
    run_at: Moment
    started_at: MaybeMoment
    ended_at: MaybeMoment
    kept_until: MaybeMoment
    attempt: int
    failures: int
    lost: int
    fence: int | None
    worker_id: uuid.UUID | None
    arguments: str
    progress_done: float | None
    progress_total: float | None
    flow: str | None
    notices: str | None
    settled_at: MaybeMoment
    gate: str | None
    passed: int | None
    expires_at: MaybeMoment
    cancel_requested: bool
    error_message: str
    value: Annotated[
        bytes | None, Stored("bytea", arrays.binaries, lambda value: None if value is None else bytes(value))
    ]
    gone_at: MaybeMoment = None

    @property
    def expired(self) -> bool:
        """Whether its result is gone, with its arguments and attempts."""
        return self.gone_at is not None

    @property
    def was_asked_to_stop(self) -> bool:
        """Whether somebody has cancelled it while it ran, or another task wanted its slot."""
        return self.cancel_requested or self.flow is not None and f'"{columns.WHY}": ' in self.flow

    @property
    def public_error(self) -> str:
        """Its error message without the name of the user who cancelled it while it ran, for callers from outside."""
        if self.expired:
            return ""  # It is no longer known whether it has a name.
        why: str = json.loads(self.flow).get(columns.WHY, "") if self.was_asked_to_stop and self.flow else ""
        if why.startswith("cancelled by ") and self.error_message.startswith(why):
            return f"cancelled while it ran{self.error_message.removeprefix(why)}"
        return self.error_message

    @property
    def progress(self) -> Progress | None:
        """The progress it last reported; None if it has reported none."""
        return None if self.progress_done is None else Progress(self.progress_done, self.progress_total)


@dataclass(frozen=True, slots=True)
class StoredAttempt:
    """One attempt that did not succeed."""

    number: int
    state: State
    started_at: datetime | None
    ended_at: datetime
    error_type: str
    error_message: str
    traceback: str
    worker_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A task with its attempts.

    :ivar payload: its arguments; None once it has ended as DONE.
    :ivar attempts: the unsuccessful ones, oldest first.
    """

    task: StoredTask
    payload: bytes | None
    attempts: tuple[StoredAttempt, ...]


_FIELDS = tuple(field.name for field in fields(StoredTask))
_LOADS = {name: how.load for name, how in columns.stored(StoredTask).items() if how.load}


def select(table: str, **values: str) -> str:
    """Return a statement that reads the columns of :class:`StoredTask`.

    :param values: expressions for some of them.
    """
    texts = {name: f"{name}::text AS {name}" for name in ("flow", "notices", "metadata")}
    values = texts | {"gone_at": "NULL::timestamptz AS gone_at"} | values
    return f"SELECT {', '.join(values.get(name, name) for name in _FIELDS)} FROM {table}"


_OF_ENDED = {
    "ended_at": "NULL::timestamptz AS ended_at",
    "kept_until": "NULL::timestamptz AS kept_until",
    "notices": "NULL::text AS notices",
    "settled_at": "NULL::timestamptz AS settled_at",
    "error_message": "''::text AS error_message",
    "value": "NULL::bytea AS value",
}
_OF_LIVE = {"gate": "NULL::text AS gate", "passed": "NULL::smallint", "expires_at": "NULL", "cancel_requested": "false"}

# The rest is unknown of past tasks.
_OF_PAST = {
    "kept_until": "gone_at AS kept_until",
    "gone_at": "gone_at",
    "ttl": "0::float8 AS ttl",
    "timeout": "NULL::float8 AS timeout",
    "executor": "'' AS executor",
    "scheduled_for": "NULL::timestamptz AS scheduled_for",
    "at_most_once": "false AS at_most_once",
    "on_end": "NULL::text AS on_end",
    "metadata": "NULL::text AS metadata",
    "fence": "NULL::bigint AS fence",
    "worker_id": "NULL::uuid AS worker_id",
    "arguments": "'' AS arguments",
    "progress_done": "NULL::float8 AS progress_done",
    "progress_total": "NULL::float8 AS progress_total",
    "flow": "NULL::text AS flow",
    "notices": "NULL::text AS notices",
    "settled_at": "NULL::timestamptz AS settled_at",
    "value": "NULL::bytea AS value",
}

#: The columns of :class:`StoredTask`, for live and for finished tasks, and for the latter without their results; and for
#: those whose results are gone.
LIVE = select("autotask_live", **_OF_ENDED)
ENDED = select("autotask_result", **_OF_LIVE)
WITHOUT_VALUE = select("autotask_result", **_OF_LIVE, value="NULL::bytea AS value")
PAST = select("autotask_history", **_OF_LIVE, **_OF_PAST)

# One statement has one snapshot, and a task moves between the tables in one statement: it is seen exactly once.
TASK = f"{LIVE} WHERE id = %(id)s UNION ALL {ENDED} WHERE id = %(id)s"
TASKS = f"{LIVE} WHERE id = ANY(%(ids)s::uuid[]) UNION ALL {ENDED} WHERE id = ANY(%(ids)s::uuid[])"


def _of_claim(what: str, otherwise: str = "NULL") -> str:
    """Return the columns of the claim ``c`` of a task ``t``, if that runs."""
    of_claim = f"(SELECT {what} FROM autotask_claim c WHERE t.id = ANY(c.ids) LIMIT 1)"
    return f"CASE WHEN {claims.RUNS} THEN {of_claim} ELSE {otherwise} END"


_LIVE_IN_ORDER = select(
    "autotask_task t",
    **_OF_ENDED,
    state=f"{claims.STATE} AS state",
    started_at=f"{_of_claim('c.at', 't.started_at')} AS started_at",
    attempt=f"t.attempt + CASE WHEN {claims.RUNS} THEN 1 ELSE 0 END AS attempt",
    worker_id=f"{_of_claim('c.worker_id')} AS worker_id",
    fence=f"{_of_claim(f'(c.number << {claims.PLACE_BITS}) + array_position(c.ids, t.id) - 1')} AS fence",
)

# Those that wait at some gates do not run.
_HELD = (
    select("autotask_task t", **_OF_ENDED, worker_id="NULL::uuid AS worker_id", fence="NULL::bigint AS fence")
    + " WHERE EXISTS (SELECT FROM autotask_held h WHERE h.id = t.id AND h.gate = ANY(%(gates)s::text[]))"
)

# The primary keys grow with time, so all branches are read from their end and merged; but only if the conditions, even
# "true", are outside: with conditions inside, the planner would read the tables completely.
NEWEST = """
SELECT * FROM ({live} UNION ALL {ended} UNION ALL {past}) AS every WHERE {conditions} ORDER BY id DESC LIMIT {limit}
"""

_ATTEMPT = "a.number, a.state, a.started_at, a.ended_at, a.error_type, a.error_message, a.traceback, a.worker_id"

ATTEMPTS = f"SELECT {_ATTEMPT} FROM autotask_attempt a WHERE a.task_id = %(id)s ORDER BY a.id"

# Ordered by an expression without an index: the planner might read the primary key from its end, past the attempts of all
# other tasks. There can be thousands of attempts with long tracebacks; only those of returned rows are read (TOAST).
LAST_ATTEMPTS = f"""
SELECT {_ATTEMPT} FROM autotask_attempt a WHERE a.task_id = %(id)s ORDER BY a.id + 0 DESC LIMIT %(limit)s
"""

_LAST_ERROR = """
CASE WHEN failures = 0 THEN '' ELSE (
    SELECT a.error_message FROM autotask_attempt a WHERE a.task_id = %(id)s ORDER BY a.id + 0 DESC LIMIT 1
) END AS error_message
"""

# For a handle: a live task has the error of its last unsuccessful attempt.
SEEN = f"""
{select("autotask_live", **_OF_ENDED | {"error_message": _LAST_ERROR})} WHERE id = %(id)s
UNION ALL {ENDED} WHERE id = %(id)s
"""

# All in one snapshot, so that the task and its attempts fit together. The planner does not know that a task is in one claim at most:
# without LIMIT, PostgreSQL 14 expects many rows, and compiles the statement, which takes seconds.
HISTORY = f"""
SELECT coalesce(live.payload, ended.payload), {_ATTEMPT}, found.*
FROM ({TASK} LIMIT 1) AS found
LEFT JOIN autotask_task live ON live.id = %(id)s
LEFT JOIN autotask_result ended ON ended.id = %(id)s
LEFT JOIN autotask_attempt a ON a.task_id = %(id)s
ORDER BY a.id
"""

# It need not survive a crash of the server, so its commit does not wait for the disk: no worker can claim the row while it
# is locked.
AWAIT = """
UPDATE autotask_task SET awaited = true
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE id = %(id)s AND NOT awaited
"""

# The same for callers that must not wait for a locked row, since others wait for them.
AWAIT_UNLOCKED = """
UPDATE autotask_task SET awaited = true
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE id = (SELECT id FROM autotask_task WHERE id = %(id)s AND NOT awaited FOR NO KEY UPDATE SKIP LOCKED)
"""

# The seconds after which the server ends an idle session, if it does (since PostgreSQL 14), and its process that answers,
# which a pooler hides.
SESSION = """
SELECT nullif(extract(epoch FROM current_setting('idle_session_timeout', true)::interval), 0)::float8, pg_backend_pid()
"""

WORKERS = """
SELECT w.id, w.kind, w.host, w.pid, w.serves_pid, w.queues, w.threads, w.version, w.stopping,
       extract(epoch FROM statement_timestamp() - w.started_at)::float8,
       extract(epoch FROM statement_timestamp() - w.seen_at)::float8,
       w.lease_until > clock_timestamp(),
       (SELECT count(*) FROM autotask_running r JOIN autotask_task t ON t.id = r.id WHERE r.worker_id = w.id), w.zone_data
FROM autotask_worker w ORDER BY w.started_at
"""


@dataclass(frozen=True, slots=True)
class LivingWorker:
    """A registered worker; *age* and *seen* are seconds since it started and since its last heartbeat."""

    id: uuid.UUID
    kind: str
    host: str
    pid: int
    serves_pid: int | None
    queues: str
    threads: int
    version: str
    stopping: bool
    age: float
    seen: float
    alive: bool
    running: int
    zone_data: str


def task(connection: BaseDatabaseWrapper, id: uuid.UUID) -> StoredTask | None:
    """Return a task; None if it does not exist."""
    found = rows(connection, TASK, {"id": id})
    return stored(found[0]) if found else None


def past(connection: BaseDatabaseWrapper, id: uuid.UUID) -> StoredTask | None:
    """Return the record that is kept of a task whose result is gone; None if there is none."""
    found = rows(connection, f"{PAST} WHERE id = %(id)s", {"id": id})
    return stored(found[0]) if found else None


def seen(connection: BaseDatabaseWrapper, id: uuid.UUID) -> StoredTask | None:
    """Return a task with its error message, for a live one that of its last attempt; None if it does not exist."""
    found = rows(connection, SEEN, {"id": id})
    return stored(found[0]) if found else None


def tasks(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[StoredTask]:
    """Return those of the tasks that exist, in no order."""
    return [stored(row) for row in rows(connection, TASKS, {"ids": arrays.uuids(ids)})] if ids else []


def newest(
    connection: BaseDatabaseWrapper,
    *,
    states: Sequence[State] = (),
    gates: Sequence[str] = (),
    limit: int = 20,
    **wanted: str | None,
) -> list[StoredTask]:
    """Return the newest tasks, newest first, with those whose results are gone.

    :param states: only these; empty means all.
    :param gates: only tasks that wait at one of these; empty means all.
    :param wanted: values by column; None: any.
    """
    params: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    conditions = ["true", *map(columns.condition, params)]
    conditions += ["state = ANY(%(states)s::smallint[])"] if states else []
    conditions += ["gate IS NOT NULL"] if gates else []
    live = _HELD if gates else _LIVE_IN_ORDER
    sql = NEWEST.format(live=live, ended=ENDED, past=PAST, conditions=" AND ".join(conditions), limit=int(limit))
    params |= {"states": [int(state) for state in states], "gates": list(gates)}
    return [stored(row) for row in rows(connection, sql, params)]


def attempts(connection: BaseDatabaseWrapper, id: uuid.UUID) -> list[StoredAttempt]:
    """Return the unsuccessful attempts of a task, oldest first."""
    return [_attempt(row) for row in rows(connection, ATTEMPTS, {"id": id})]


def last_attempts(connection: BaseDatabaseWrapper, id: uuid.UUID, limit: int) -> list[StoredAttempt]:
    """Return the last unsuccessful attempts of a task, oldest first."""
    found = rows(connection, LAST_ATTEMPTS, {"id": id, "limit": limit})
    return [_attempt(row) for row in reversed(found)]


def history(connection: BaseDatabaseWrapper, id: uuid.UUID) -> History | None:
    """Return a task with its payload and its attempts; None if it does not exist."""
    found = rows(connection, HISTORY, {"id": id})
    if not found:
        return None
    width = 1 + len(StoredAttempt.__slots__)
    payload, *_ = found[0]
    attempts = tuple(_attempt(row[1:width]) for row in found if row[1] is not None)
    return History(stored(found[0][width:]), None if payload is None else bytes(payload), attempts)


def ask_to_be_told(connection: BaseDatabaseWrapper, id: uuid.UUID, *, wait: bool = True) -> bool:
    """Ask for a notification of the end of a task on its channel.

    :param wait: whether to wait for a locked row.
    :returns: whether it is sure to come. If not, the task has ended or is gone, somebody else has asked already, or its row
        is locked and was not waited for.
    """
    return execute(connection, AWAIT if wait else AWAIT_UNLOCKED, {"id": id}) == 1


def listen(connection: BaseDatabaseWrapper, id: uuid.UUID, *, wait: bool = True) -> tuple[ChannelListener, bool]:
    """Listen for the end of a task, and ask for its notification in the same round trip.

    :returns: the listener, and whether the notification is sure to come.
    """
    ask = (AWAIT if wait else AWAIT_UNLOCKED) % {"id": f"'{id}'"}
    listener = ChannelListener(connection, ended_channel(id), also=ask)
    return listener, listener.touched == 1


def session(connection: BaseDatabaseWrapper) -> tuple[float, bool]:
    """Return after how many seconds the server ends an idle session, and whether a pooler is in front of it."""
    seconds, process_id = rows(connection, SESSION)[0]
    return float("inf") if seconds is None else seconds, process_id != connection.connection.info.backend_pid


def workers(connection: BaseDatabaseWrapper) -> list[LivingWorker]:
    """Return the registered workers, longest running first."""
    return [LivingWorker(*row) for row in rows(connection, WORKERS)]


def _attempt(row: tuple[Any, ...]) -> StoredAttempt:
    number, state, started, ended, *rest = row
    return StoredAttempt(number, State(state), aware(started), aware(ended), *rest)


def stored(row: Sequence[Any]) -> StoredTask:
    """Return the task in a row of :data:`LIVE`, :data:`ENDED` or :data:`PAST`."""
    values = dict(zip(_FIELDS, row, strict=True))
    for name, load in _LOADS.items():
        values[name] = load(values[name])
    return StoredTask(**values)
