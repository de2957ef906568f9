"""Read all signed payloads and results, batch by batch, and write back those signed again."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute, rows


class Signed(NamedTuple):
    """The payload or the result of one task.

    :ivar name: part of the signature of arguments.
    :ivar fence: part of the signature of a result.
    """

    id: uuid.UUID
    name: str
    fence: int
    envelope: bytes


class PayloadColumn(NamedTuple):
    """A column of payloads or results."""

    table: str
    column: str
    what: str
    fence: str = "0"


WAITING = PayloadColumn("autotask_task", "payload", "arguments of live tasks")
FAILED = PayloadColumn("autotask_result", "payload", "arguments of tasks that can be retried")
RESULTS = PayloadColumn("autotask_result", "value", "results", "coalesce(fence, 0)")
STEPS = PayloadColumn("autotask_step", "value", "values of steps")

#: Payloads in one batch, and bytes after which it ends: they are read into memory, and go into one statement, old and new.
BATCH = 100
BATCH_BYTES = 4 * 2**20

# In the order of the primary key, so that each batch begins where the last one ended, whatever rows come and go.
READ = """
WITH following AS MATERIALIZED (
    SELECT id, octet_length({column}) AS size FROM {table}
    WHERE id > %(after)s AND {column} IS NOT NULL
    ORDER BY id LIMIT {limit}
),
fitting AS (
    SELECT id FROM (SELECT id, sum(size) OVER (ORDER BY id) - size AS before FROM following) AS counted
    WHERE before < {bytes}
)
SELECT id, name, {fence}, {column} FROM {table}
WHERE id = ANY(ARRAY(SELECT id FROM fitting)) AND {column} IS NOT NULL
ORDER BY id
"""

# The state of a row and its claim do not matter, as long as it still has the value that was read. A row that has moved to
# the other table is not found here. Nothing waits for locks: a locked row is read again in the next round.
WRITE = """
WITH new AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(old)s::bytea[], %(new)s::bytea[]) AS new(id, old, new)
),
free AS MATERIALIZED (
    SELECT t.id FROM {table} t WHERE t.id = ANY(%(ids)s::uuid[]) ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {table} t SET {column} = new.new
FROM new
WHERE t.id = new.id AND t.{column} = new.old AND t.id = ANY(ARRAY(SELECT id FROM free))
"""


#: Tasks whose steps are in one batch.
TASKS_WITH_STEPS = 20

# A batch ends with the last step of a task; a step is written as its number and its name.
READ_STEPS = """
SELECT task_id, number || ':' || name, 0, value FROM autotask_step
WHERE value IS NOT NULL AND task_id = ANY(ARRAY(
    SELECT DISTINCT task_id FROM autotask_step WHERE task_id > %(after)s ORDER BY task_id LIMIT {limit}
))
ORDER BY task_id, number, name
"""

WRITE_STEPS = """
WITH new AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(names)s::text[], %(old)s::bytea[], %(new)s::bytea[]) AS new(id, name, old, new)
),
free AS MATERIALIZED (
    SELECT s.task_id, s.number, s.name FROM autotask_step s WHERE s.task_id = ANY(%(ids)s::uuid[])
    ORDER BY s.task_id, s.number, s.name FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE autotask_step s SET value = new.new
FROM new, free
WHERE s.task_id = new.id AND s.number || ':' || s.name = new.name AND s.value = new.old
  AND (free.task_id, free.number, free.name) = (s.task_id, s.number, s.name)
"""


@contextlib.contextmanager
def at_one_moment(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Read all rows as they were at the first read, however long that takes, and write nothing.

    Inside a transaction of the caller it is too late for that: each read has its own snapshot.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=connection.alias):
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def read(connection: BaseDatabaseWrapper, place: PayloadColumn, after: uuid.UUID) -> list[Signed]:
    """Return the next batch; empty at the end.

    :param after: the last id of the batch before; at first the smallest possible one.
    """
    sql = READ.format(**place._asdict(), limit=BATCH, bytes=BATCH_BYTES)
    if place is STEPS:
        sql = READ_STEPS.format(limit=TASKS_WITH_STEPS)
    return [
        Signed(id, name, fence, bytes(envelope))
        for id, name, fence, envelope in rows(connection, sql, {"after": after})
    ]


def write(connection: BaseDatabaseWrapper, place: PayloadColumn, changed: Sequence[tuple[Signed, bytes]]) -> int:
    """Replace envelopes that are still as they were read, and return how many there were."""
    if not changed:
        return 0
    return execute(
        connection,
        WRITE_STEPS if place is STEPS else WRITE.format(table=place.table, column=place.column),
        {
            "names": arrays.texts([signed.name for signed, _ in changed]),
            "ids": arrays.uuids([signed.id for signed, _ in changed]),
            "old": arrays.binaries([signed.envelope for signed, _ in changed]),
            "new": arrays.binaries([envelope for _, envelope in changed]),
        },
    )
