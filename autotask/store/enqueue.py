"""Insert tasks, one or many, inside the caller's transaction."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute


@dataclass(frozen=True, slots=True)
class NewTask:
    """A row to be.

    :ivar delay: seconds from now on before which it does not run; *run_after* wins if both are given.
    :ivar arguments: what people are shown of the arguments.
    """

    id: uuid.UUID
    name: str
    queue: str
    priority: int
    delay: float
    run_after: datetime | None
    retries: int
    ttl: float
    arguments: str
    payload: bytes
    schedule: str | None = None
    scheduled_for: datetime | None = None


# The common case, in the shape that costs the least to plan.
NOW = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at,
                           retries, ttl, arguments, schedule, scheduled_for, payload)
VALUES (%(id)s, %(name)s, %(queue)s, %(priority)s, 1, clock_timestamp(), clock_timestamp(), clock_timestamp(),
        %(retries)s, %(ttl)s, %(arguments)s, %(schedule)s, %(scheduled_for)s, %(payload)s)
"""

# What is due is inserted ready to be claimed; only what is not has to be promoted later. The clock is read once, so
# that no moment of a row contradicts another. clock_timestamp() and not now(): in a long transaction now() is long ago.
LATER = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at,
                           retries, ttl, arguments, schedule, scheduled_for, payload)
SELECT %(id)s, %(name)s, %(queue)s, %(priority)s, CASE WHEN due.at > clock.now THEN 0 ELSE 1 END,
       clock.now, due.at, CASE WHEN due.at > clock.now THEN NULL ELSE clock.now END,
       %(retries)s, %(ttl)s, %(arguments)s, %(schedule)s, %(scheduled_for)s::timestamptz, %(payload)s
FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
CROSS JOIN LATERAL (
    SELECT coalesce(%(run_after)s::timestamptz, clock.now + %(delay)s * interval '1 s') AS at OFFSET 0
) AS due
"""

MANY = """
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at,
                           retries, ttl, arguments, schedule, scheduled_for, payload)
SELECT t.id, t.name, t.queue, t.priority, CASE WHEN due.at > clock.now THEN 0 ELSE 1 END,
       clock.now, due.at, CASE WHEN due.at > clock.now THEN NULL ELSE clock.now END,
       t.retries, t.ttl, t.arguments, t.schedule, t.scheduled_for, t.payload
FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock
CROSS JOIN unnest(
    %(id)s::uuid[], %(name)s::text[], %(queue)s::text[], %(priority)s::smallint[], %(delay)s::float8[],
    %(run_after)s::timestamptz[], %(retries)s::int[], %(ttl)s::float8[], %(arguments)s::text[],
    %(payload)s::bytea[], %(schedule)s::text[], %(scheduled_for)s::timestamptz[]
) AS t(id, name, queue, priority, delay, run_after, retries, ttl, arguments, payload, schedule, scheduled_for)
CROSS JOIN LATERAL (
    SELECT coalesce(t.run_after, clock.now + t.delay * interval '1 s') AS at OFFSET 0
) AS due
"""


def insert(connection: BaseDatabaseWrapper, task: NewTask) -> None:
    """Insert one task."""
    statement = NOW if task.run_after is None and task.delay == 0 else LATER
    execute(connection, statement, {name: getattr(task, name) for name in NewTask.__slots__})


def insert_many(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
    """Insert several tasks with one statement: all of them or none."""
    execute(connection, MANY, columns(tasks))


def columns(tasks: Sequence[NewTask]) -> dict[str, list[Any]]:
    """Return the parameters of :data:`MANY`."""
    return {name: [getattr(task, name) for task in tasks] for name in NewTask.__slots__}
