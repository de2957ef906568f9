"""Insert tasks, one or many, inside the caller's transaction."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute
from autotask.task import THREAD


class Kind(NamedTuple):
    """What tasks of one bulk have in common, as a rule.

    :ivar delay: seconds from now on before which it does not run; *run_after* wins if both are given.
    :ivar expires: seconds after it is due from which on no attempt begins; *expires_at* wins if both are given.
    :ivar timeout: seconds that one attempt may take; None: as many as the worker allows.
    :ivar executor: where it runs, see :data:`autotask.task.THREAD`.
    """

    name: str
    queue: str
    priority: int
    delay: float
    run_after: datetime | None
    retries: int
    ttl: float
    schedule: str | None = None
    scheduled_for: datetime | None = None
    expires: float | None = None
    expires_at: datetime | None = None
    at_most_once: bool = False
    timeout: float | None = None
    executor: str = THREAD

    @property
    def is_plain(self) -> bool:
        """Whether it is due at once, and nothing about it is out of the ordinary."""
        return not self.delay and self.run_after is None and self[_SPECIAL] == _NOTHING_SPECIAL


#: Bytes of arguments after which the tasks of a bulk go on in another statement. A statement has twice as many, and one of
#: more than 1 GB would make the server close the connection.
LARGEST_STATEMENT = 8 * 2**20

#: What few tasks have: all that may be left out.
_SPECIAL = slice(Kind._fields.index("schedule"), None)
_NOTHING_SPECIAL = tuple(Kind._field_defaults.values())


class NewTask(NamedTuple):
    """A row to be.

    :ivar arguments: what people are shown of the arguments.
    """

    id: uuid.UUID
    kind: Kind
    arguments: str
    payload: bytes


# The common case, in the shape that costs driver and server the least: parameters by position, the id as text.
NOW = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at, retries, ttl, arguments, payload)
VALUES (%s, %s, %s, %s, 1, clock_timestamp(), clock_timestamp(), clock_timestamp(), %s, %s, %s, %s)
"""

# The same, as claimed by a worker that has offered it. Whether that has its lease is for the worker to see to when it is
# handed over: to ask for it here would cost each of these calls a tenth of a millisecond.
CLAIMED = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at, retries, ttl, arguments, payload,
                           attempt, started_at, worker_id, fence)
VALUES (%s, %s, %s, %s, 2, clock_timestamp(), clock_timestamp(), clock_timestamp(), %s, %s, %s, %s,
        1, clock_timestamp(), %s, nextval('autotask_fence'))
RETURNING fence
"""

# What is due is inserted ready to be claimed; only what is not has to be promoted later. The clock is read once, so
# that no moment of a row contradicts another. clock_timestamp() and not now(): in a long transaction now() is long ago.
LATER = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at,
                           retries, ttl, arguments, schedule, scheduled_for, payload, expires_at, at_most_once,
                           timeout, executor)
SELECT %(id)s, %(name)s, %(queue)s, %(priority)s, CASE WHEN due.at > clock.now THEN 0 ELSE 1 END,
       clock.now, due.at, CASE WHEN due.at > clock.now THEN NULL ELSE clock.now END,
       %(retries)s, %(ttl)s, %(arguments)s, %(schedule)s, %(scheduled_for)s::timestamptz, %(payload)s,
       coalesce(%(expires_at)s::timestamptz, due.at + %(expires)s * interval '1 s'), %(at_most_once)s,
       %(timeout)s, %(executor)s
FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
CROSS JOIN LATERAL (
    SELECT coalesce(%(run_after)s::timestamptz, clock.now + %(delay)s * interval '1 s') AS at OFFSET 0
) AS due
"""

# What tasks have in common is written once. They are ready a microsecond apart, for the sake of their order, and because
# the lower bound of a claim cannot tell apart what is ready at one moment.
MANY = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at,
                           retries, ttl, arguments, schedule, scheduled_for, payload, expires_at, at_most_once,
                           timeout, executor)
SELECT t.id, kind.name, kind.queue, kind.priority, CASE WHEN due.at > clock.now THEN 0 ELSE 1 END,
       clock.now, due.at, CASE WHEN due.at > clock.now THEN NULL ELSE clock.now + t.place * interval '1 us' END,
       kind.retries, kind.ttl, t.arguments, kind.schedule, kind.scheduled_for, t.payload,
       coalesce(kind.expires_at, due.at + kind.expires * interval '1 s'), kind.at_most_once, kind.timeout, kind.executor
FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
CROSS JOIN unnest(
    %(name)s::text[], %(queue)s::text[], %(priority)s::smallint[], %(delay)s::float8[], %(run_after)s::timestamptz[],
    %(retries)s::int[], %(ttl)s::float8[], %(schedule)s::text[], %(scheduled_for)s::timestamptz[],
    %(expires)s::float8[], %(expires_at)s::timestamptz[], %(at_most_once)s::boolean[], %(timeout)s::float8[],
    %(executor)s::text[]
) WITH ORDINALITY AS kind(name, queue, priority, delay, run_after, retries, ttl, schedule, scheduled_for,
                          expires, expires_at, at_most_once, timeout, executor, number)
CROSS JOIN LATERAL (
    SELECT coalesce(kind.run_after, clock.now + kind.delay * interval '1 s') AS at OFFSET 0
) AS due
JOIN unnest(%(id)s::uuid[], %(kind)s::int[], %(arguments)s::text[], %(payload)s::bytea[])
    WITH ORDINALITY AS t(id, kind, arguments, payload, place) ON t.kind = kind.number
"""


def insert(connection: BaseDatabaseWrapper, task: NewTask) -> None:
    """Insert one task."""
    id, kind, arguments, payload = task
    if kind.is_plain:
        execute(connection, NOW, _plain(task))
    else:
        execute(connection, LATER, {"id": id, "arguments": arguments, "payload": payload, **kind._asdict()})


def insert_claimed(connection: BaseDatabaseWrapper, task: NewTask, worker_id: uuid.UUID) -> int:
    """Insert one task as claimed by a worker, and return the fence of the claim.

    :param task: one whose kind is plain; outside a transaction, since the worker must not wait for a commit.
    :param worker_id: who has offered to be handed it.
    """
    with connection.cursor() as cursor:
        cursor.execute(CLAIMED, (*_plain(task), worker_id.hex))
        return int(cursor.fetchone()[0])


def _plain(task: NewTask) -> tuple[str | int | float | bytes, ...]:
    id, kind, arguments, payload = task
    return id.hex, kind.name, kind.queue, kind.priority, kind.retries, kind.ttl, arguments, payload


def insert_many(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
    """Insert several tasks: all of them or none, with one statement unless their arguments are many megabytes."""
    first, *others = _parted(tasks)
    if not others:
        execute(connection, MANY, columns(first))
        return
    with transaction.atomic(using=connection.alias):
        for part in (first, *others):
            execute(connection, MANY, columns(part))


def _parted(tasks: Sequence[NewTask]) -> Iterator[Sequence[NewTask]]:
    begin = total = 0
    for index, task in enumerate(tasks):
        if total >= LARGEST_STATEMENT:
            yield tasks[begin:index]
            begin, total = index, 0
        total += len(task.payload)
    yield tasks[begin:]


def columns(tasks: Sequence[NewTask]) -> dict[str, str]:
    """Return the parameters of :data:`MANY`."""
    numbers: dict[Kind, int] = {}
    kinds = [numbers.setdefault(task.kind, len(numbers) + 1) for task in tasks]
    common = {name: literal([getattr(kind, name) for kind in numbers]) for name, literal in _COMMON.items()}
    return {
        **common,
        "id": arrays.uuids([task.id for task in tasks]),
        "kind": arrays.numbers(kinds),
        "arguments": arrays.texts([task.arguments for task in tasks]),
        "payload": arrays.binaries([task.payload for task in tasks]),
    }


_COMMON: dict[str, Callable[[list[Any]], str]] = {
    "name": arrays.texts,
    "queue": arrays.texts,
    "priority": arrays.numbers,
    "delay": arrays.numbers,
    "run_after": arrays.moments,
    "retries": arrays.numbers,
    "ttl": arrays.numbers,
    "schedule": arrays.texts,
    "scheduled_for": arrays.moments,
    "expires": arrays.maybe_numbers,
    "expires_at": arrays.moments,
    "at_most_once": arrays.flags,
    "timeout": arrays.maybe_numbers,
    "executor": arrays.texts,
}
