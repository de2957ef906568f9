"""Insert tasks, one or many, inside the caller's transaction."""

import contextlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import lines
from autotask.flow import Flow
from autotask.flow.plan import Throttle
from autotask.store import addressee, arrays, claims, columns, held, ready
from autotask.store.columns import Carried, MaybeMoment, MaybeSeconds, Seconds
from autotask.store.connection import execute, rows
from autotask.store.prepared import bare_rows_for_caller, bare_rows_if_prepared
from autotask.task import BACKGROUND, REMOTE


@dataclass(frozen=True, kw_only=True, eq=False)
class Kind(Carried):
    """The options that tasks share: usually, all calls of one definition share one object.

    :ivar delay: seconds from now until it is due; *run_after* wins if both are given.
    :ivar expires: seconds after it is due, after which no attempt begins; *expires_at* wins if both are given.
    """

    delay: Seconds = 0.0
    run_after: MaybeMoment = None
    expires: MaybeSeconds = None
    expires_at: MaybeMoment = None

    @cached_property
    def is_plain(self) -> bool:
        """Whether it is due at once, with defaults everywhere."""
        return all(getattr(self, name) == default for name, default in _NOTHING_SPECIAL.items())

    @cached_property
    def is_plain_message(self) -> bool:
        """The same, but for a background worker."""
        others = (name for name in _NOTHING_SPECIAL if name != "executor")
        return self.executor == BACKGROUND and all(getattr(self, name) == _NOTHING_SPECIAL[name] for name in others)

    @cached_property
    def about(self) -> tuple[str | None, Any] | None:
        """Subject and metadata, for the context of the task; None: it has neither."""
        if self.subject is None and self.metadata is None:
            return None
        return self.subject, None if self.metadata is None else json.loads(self.metadata)


STATED = columns.stored(Kind)

_NO_FLOW = Flow()

_NOTHING_SPECIAL = {field.name: field.default for field in fields(Kind) if field.default is not MISSING}

#: Bytes of arguments after which a bulk continues in another statement. The statement is twice as long, and one of more than
#: 1 GB would make the server close the connection.
LARGEST_STATEMENT = 8 * 2**20


class NewTask(NamedTuple):
    """A task to insert.

    :ivar arguments: the arguments as text.
    :ivar flow: its gates and its unique key; None: it has neither.
    :ivar throttle: the bucket from which the call draws.
    :ivar key: its unique key, if it has no flow but that: then a bulk makes no further object for each call, over which the garbage
        collector would go.
    """

    id: uuid.UUID
    kind: Kind
    arguments: str
    payload: bytes
    flow: Flow | None = None
    throttle: Throttle | None = None
    key: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether no other call can stand in for it, and it waits at no gate."""
        return self.flow is None and self.throttle is None and self.key is None

    @property
    def any_flow(self) -> Flow:
        """Its gates and its unique key, of which it may have none."""
        return self.flow or (_NO_FLOW if self.key is None else Flow((), self.key))


_COLUMNS = "id, name, queue, priority, state, created_at, run_at, ready_at, retries, ttl, arguments, payload"
_VALUES = "%s, %s, %s, %s, 1, clock_timestamp(), clock_timestamp(), clock_timestamp(), %s, %s, %s, %s"

# The common case, in the form that costs driver and server the least: parameters by position, the id as text.
_STORED = f"""
stored AS (
    INSERT INTO autotask_task ({_COLUMNS})
    VALUES ({_VALUES})
    RETURNING id, queue, priority, executor, ready_at
)
"""
_COME = f"""
INSERT INTO autotask_ready ({ready.COLUMNS})
SELECT queue, priority, executor, ready_at, id, false, false FROM stored
"""
NOW = f"WITH {_STORED}{_COME}"

# The same, as claimed by the worker that made the offer. The worker itself checks its lease when the task is handed over:
# checking it here would cost each of these calls a tenth of a millisecond.
CLAIMED = f"""
WITH {_STORED}
INSERT INTO autotask_claim (number, worker_id, at, ids)
SELECT nextval('autotask_fence'), %s::uuid, ready_at, ARRAY[id] FROM stored
RETURNING number << {claims.PLACE_BITS}
"""


# Due tasks are inserted as ready; only others have to be promoted later. The clock is read once, so that the moments of a
# row do not contradict each other. clock_timestamp() and not now(): in a long transaction now() is long ago.
def _insert(kind: str, task: str, ready: str, kinds: str = "", tasks: str = "", **more: str) -> str:
    """Return a statement that inserts any tasks.

    :param kind: a field of their kind, from parameters or from the table of *kinds*.
    :param task: a field of a task, from parameters or from the table of *tasks*.
    :param ready: ``ready_at`` of due tasks.
    :param more: further columns, or other expressions for some.
    """
    said = {name: kind.format(name=name, type=how.type) for name, how in STATED.items()}
    due = f"coalesce({said['run_after']}, clock.now + {said['delay']} * interval '1 s')"
    return columns.insert(
        "autotask_task",
        "(SELECT clock_timestamp() AS now OFFSET 0) AS clock"
        f"{kinds}\nCROSS JOIN LATERAL (SELECT {due} AS at OFFSET 0) AS due{tasks}",
        **{name: task.format(name=name) for name in ("id", "arguments", "payload")},
        **{name: said[name] for name in columns.CARRIED},
        **{
            "state": "CASE WHEN due.at > clock.now THEN 0 ELSE 1 END",
            "created_at": "clock.now",
            "run_at": "due.at",
            "ready_at": f"CASE WHEN due.at > clock.now THEN NULL ELSE {ready} END",
            "expires_at": f"coalesce({said['expires_at']}, due.at + {said['expires']} * interval '1 s')",
        }
        | more,
    )


_LATER = f"""
stored AS (
    {_insert("%({name})s::{type}", "%({name})s", "clock.now")}
    RETURNING {ready.RETURNED}
)
"""
LATER = f"WITH {_LATER}{ready.come('stored')}"

# The same, and workers are notified: one transaction, and one wait for the disk, for both.
_TELLING = f"SELECT pg_notify({addressee.channel('stored.queue', 'stored.executor')}, '{addressee.ONE}') FROM stored"
LATER_TELLING = f"WITH {_LATER}, come AS ({ready.come('stored')}) {_TELLING}"

# The common case: if a worker is free, the task is stored as claimed by it, and handed to it along with the notification.
_NAMED_VALUES = """%(id)s::uuid, %(name)s::text, %(queue)s::text, %(priority)s::smallint, 1, clock_timestamp(), clock_timestamp(),
           clock_timestamp(), %(retries)s::int, %(ttl)s::float8, %(arguments)s::text, %(payload)s::bytea"""
NOW_HANDING = f"""
WITH {addressee.free("%(queue)s::text")},
stored AS (
    INSERT INTO autotask_task ({_COLUMNS}) VALUES ({_NAMED_VALUES}) RETURNING id, queue, priority, executor, ready_at
),
claimed AS (
    INSERT INTO autotask_claim (number, worker_id, at, ids)
    SELECT nextval('autotask_fence'), chosen.id, stored.ready_at, ARRAY[stored.id] FROM stored, chosen
    RETURNING number, worker_id
),
come AS ({_COME} WHERE NOT EXISTS (SELECT FROM chosen))
SELECT pg_notify({lines.channel("worker_id")}, number || ' ' || %(words)s::text) FROM claimed
UNION ALL
{_TELLING} WHERE NOT EXISTS (SELECT FROM chosen)
"""

# The same without handing over, which is most calls of a process that makes many of them: prepared, it takes the server two thirds
# of the time, since it need not be parsed and planned.
NOW_PREPARED = f"""
WITH stored AS (
    INSERT INTO autotask_task ({_COLUMNS}) VALUES ({_NAMED_VALUES}) RETURNING id, queue, priority, executor, ready_at
){_COME}RETURNING 1
"""

# A task that is unique, and has no gates. It is stored unless another one has the key.
_UNLESS_TAKEN = f"""
WITH stored AS (
    INSERT INTO autotask_task ({_COLUMNS}, flow, unique_key)
    VALUES ({_NAMED_VALUES}, %(flow)s::jsonb, %(unique_key)s::text)
    {columns.UNLESS_TAKEN}
    RETURNING {ready.RETURNED}
),
come AS ({ready.come("stored")})
"""
NOW_UNLESS_TAKEN = f"{_UNLESS_TAKEN}SELECT 1 FROM stored"
NOW_UNLESS_TAKEN_TELLING = _UNLESS_TAKEN + _TELLING

# Each kind is written once. The tasks are ready a microsecond apart, to keep their order, and because the lower bound of a
# claim cannot distinguish tasks that are ready at the same moment.
_KIND, _TASK, _TURN = "kind.{name}::{type}", "t.{name}", "clock.now + t.place * interval '1 us'"

#: The table of kinds.
KINDS = f"""
CROSS JOIN unnest({", ".join(f"%({name})s::{how.many}" for name, how in STATED.items())})
    WITH ORDINALITY AS kind({", ".join(STATED)}, number)"""

#: The rows of new tasks without flows.
MANY_ROWS = _insert(
    _KIND,
    _TASK,
    _TURN,
    KINDS,
    """
JOIN unnest(%(id)s::uuid[], %(kind)s::int[], %(arguments)s::text[], %(payload)s::bytea[])
    WITH ORDINALITY AS t(id, kind, arguments, payload, place) ON t.kind = kind.number""",
)
MANY = f"WITH stored AS ({MANY_ROWS} RETURNING {ready.RETURNED}) {ready.come('stored')}"

#: The flow of a new task. Of one without gates, the server makes it from the key: faster than writing, sending and reading it.
FLOW = """
CASE WHEN t.flow IS NULL AND t.unique_key IS NOT NULL
     THEN jsonb_build_object('gates', '[]'::jsonb, 'unique', t.unique_key) ELSE t.flow END"""

#: New tasks with their flows, for :data:`KINDS`.
FLOWING = """
JOIN unnest(%(id)s::uuid[], %(kind)s::int[], %(arguments)s::text[], %(payload)s::bytea[], %(flow)s::jsonb[],
            %(unique_key)s::text[], %(gate)s::text[])
    WITH ORDINALITY AS t(id, kind, arguments, payload, flow, unique_key, gate, place) ON t.kind = kind.number"""


def flowing_rows(others: str = "", **more: str) -> str:
    """Return a statement that inserts tasks with their flows.

    :param others: joins other tables to the new tasks, ``t``.
    :param more: further columns, or other expressions for some.
    """
    passes = f"(t.gate IS NULL OR kind.executor = '{REMOTE}')"  # as in autotask.store.marks
    values = {
        "state": f"CASE WHEN due.at > clock.now THEN 0 WHEN {passes} THEN 1 ELSE 8 END",
        "ready_at": f"CASE WHEN due.at <= clock.now AND {passes} THEN {_TURN} END",
        "run_at": "due.at + t.place * interval '1 us'",
        "flow": FLOW,
        "unique_key": "t.unique_key",
        "gate": "t.gate",
        "passed": "CASE WHEN t.gate IS NOT NULL THEN 0 END",
    }
    return _insert(_KIND, _TASK, _TURN, KINDS, FLOWING + others, **values | more)


#: The rows of new tasks with their flows.
FLOWING_ROWS = flowing_rows()

#: Inserts them, except those whose unique key another one has. Keys are taken in order: so two calls never wait for each
#: other.
UNLESS_TAKEN = f"""
ORDER BY t.unique_key COLLATE "C", t.place
{columns.UNLESS_TAKEN}
RETURNING {held.RETURNED}
"""

# Tasks with gates wait at the first of them, in the order of run_at, which are a microsecond apart for that; a mark asks a
# worker to look there.
MANY_FLOWING = f"""
WITH stored AS ({FLOWING_ROWS}{UNLESS_TAKEN}),
come AS ({ready.come("stored")}),
{held.waiting("stored")}
SELECT count(*), CASE WHEN count(*) < cardinality(%(id)s::uuid[]) THEN array_agg(id) END FROM stored
"""


def insert(connection: BaseDatabaseWrapper, task: NewTask, telling: bool = False) -> None:
    """Insert one task.

    :param telling: whether to notify workers, too.
    """
    id, kind, arguments, payload, *_ = task
    if kind.is_plain and not telling:
        # In a transaction, nothing is prepared.
        if bare_rows_if_prepared(connection, NOW_PREPARED, _named(task)) is None:
            execute(connection, NOW, _plain(task))
    else:
        said = {name: getattr(kind, name) for name in STATED}
        params = {"id": id, "arguments": arguments, "payload": payload, **said}
        execute(connection, LATER_TELLING if telling else LATER, params)


def insert_handing(connection: BaseDatabaseWrapper, task: NewTask, words: str) -> None:
    """Insert one task as claimed by a worker that is free, and hand it over; or else as ready, and notify workers.

    :param task: its kind is plain; outside a transaction.
    :param words: the words of the notification.
    """
    line = lines.current()
    params = {**_named(task), "words": words, "mark": line.mark, "secret": line.secret}
    bare_rows_for_caller(connection, NOW_HANDING, params)


def insert_claimed(connection: BaseDatabaseWrapper, task: NewTask, worker_id: uuid.UUID) -> int:
    """Insert one task as claimed by a worker that offered to take it, and return the fence of the claim.

    :param task: its kind is plain; outside a transaction, since the worker must not wait for a commit.
    """
    with connection.cursor() as cursor:
        cursor.execute(CLAIMED, (*_plain(task), worker_id.hex))
        return int(cursor.fetchone()[0])


def _named(task: NewTask) -> dict[str, Any]:
    id, kind, arguments, payload, *_ = task
    said = {"id": id.hex, "name": kind.name, "queue": kind.queue, "priority": kind.priority, "retries": kind.retries}
    return {**said, "ttl": kind.ttl, "arguments": arguments, "payload": payload}


def _plain(task: NewTask) -> tuple[str | int | float | bytes, ...]:
    id, kind, arguments, payload, *_ = task
    return id.hex, kind.name, kind.queue, kind.priority, kind.retries, kind.ttl, arguments, payload


def has_only_key(task: NewTask) -> bool:
    """Whether a unique key is all that sets a task apart from a plain one."""
    return task.kind.is_plain and task.throttle is None and not task.any_flow.gates


def insert_flowing(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask], telling: bool = False) -> set[uuid.UUID]:
    """Insert tasks of which some have gates or a unique key.

    :param telling: whether to notify workers, too, of a task for which :func:`has_only_key` is true.
    :returns: the ids of those that were inserted. The unique keys of the others were taken.
    """
    if len(tasks) == 1 and tasks[0].kind.is_plain and not (flow := tasks[0].any_flow).gates:
        params = {**_named(tasks[0]), "flow": flow.stored, "unique_key": flow.unique_key}
        stored = bare_rows_for_caller(connection, NOW_UNLESS_TAKEN_TELLING if telling else NOW_UNLESS_TAKEN, params)
        return {tasks[0].id} if stored else set()
    parts = list(parted(tasks))
    with transaction.atomic(using=connection.alias) if len(parts) > 1 else contextlib.nullcontext():
        found = [(part, *rows(connection, MANY_FLOWING, flowing_parameters(part))[0]) for part in parts]
    # The ids are only sent if some are missing.
    return {id for part, count, ids in found for id in (ids or ([task.id for task in part] if count else ()))}


def flowing_parameters(tasks: Sequence[NewTask]) -> dict[str, str]:
    """Return the parameters of :data:`MANY_FLOWING`."""
    flows = [task.any_flow for task in tasks]
    return {
        **parameters(tasks),
        "flow": arrays.unless_none(arrays.texts, [flow.stored if flow.gates or flow.once else None for flow in flows]),
        "unique_key": arrays.unless_none(arrays.texts, [flow.unique_key for flow in flows]),
        "gate": arrays.unless_none(arrays.texts, [flow.gates[0].key if flow.gates else None for flow in flows]),
    }


def parted(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    """Yield the tasks in parts for one statement each."""
    begin = total = 0
    for index, task in enumerate(tasks):
        if total >= LARGEST_STATEMENT:
            yield tasks[begin:index]
            begin, total = index, 0
        total += len(task.payload)
    yield tasks[begin:]


def parameters(tasks: Sequence[NewTask]) -> dict[str, str]:
    """Return the parameters of :data:`MANY`."""
    numbers: dict[Kind, int] = {}
    kinds = [numbers.setdefault(task.kind, len(numbers) + 1) for task in tasks]
    said = {name: [getattr(kind, name) for kind in numbers] for name in STATED}
    return {
        **{name: arrays.unless_none(how.literal, said[name]) for name, how in STATED.items()},
        "id": arrays.uuids([task.id for task in tasks]),
        "kind": arrays.numbers(kinds),
        "arguments": arrays.texts([task.arguments for task in tasks]),
        "payload": arrays.binaries([task.payload for task in tasks]),
    }
