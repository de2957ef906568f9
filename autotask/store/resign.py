"""Read everything that is signed, batch by batch, and write back what was signed anew."""

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

    :ivar name: the name of the task, to which its arguments are bound.
    :ivar fence: the claim to which its result is bound.
    """

    id: uuid.UUID
    name: str
    fence: int
    envelope: bytes


class PayloadColumn(NamedTuple):
    """A column of payloads or results.

    :ivar what: what is in it, for people.
    """

    table: str
    column: str
    what: str


WAITING = PayloadColumn("autotask_task", "payload", "arguments of live tasks")
FAILED = PayloadColumn("autotask_result", "payload", "arguments of tasks that can be retried")
RESULTS = PayloadColumn("autotask_result", "value", "results")

#: Payloads in one batch, and bytes after which it ends: they are read into memory, and go into one statement as they were and
#: as they are.
BATCH = 100
BATCH_BYTES = 4 * 2**20

# In the order of the primary key, so that each batch begins where the last one has ended, whatever has come and gone.
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
SELECT id, name, coalesce(fence, 0), {column} FROM {table}
WHERE id = ANY(ARRAY(SELECT id FROM fitting)) AND {column} IS NOT NULL
ORDER BY id
"""

# Whatever state a row is in by now, and whoever has claimed it: what it holds means the same as before, as long as it is
# still what was read. A result belongs to a claim, so that has to be the same too. A row that has gone to the other table
# is not found here. Nothing waits for locks: a row that is locked is looked at again in the next round.
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


@contextlib.contextmanager
def at_one_moment(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """See all rows as they were at the first look, however long the looks take, and write nothing.

    In a transaction of the caller it is too late for that: each look is at its own moment.
    """
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(using=connection.alias):
        execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def read(connection: BaseDatabaseWrapper, place: PayloadColumn, after: uuid.UUID) -> list[Signed]:
    """Return the next batch of what is signed; empty at the end.

    :param after: the last id of the batch before; at first the smallest one there is.
    """
    sql = READ.format(table=place.table, column=place.column, limit=BATCH, bytes=BATCH_BYTES)
    return [
        Signed(id, name, fence, bytes(envelope))
        for id, name, fence, envelope in rows(connection, sql, {"after": after})
    ]


def write(connection: BaseDatabaseWrapper, place: PayloadColumn, changed: Sequence[tuple[Signed, bytes]]) -> int:
    """Replace envelopes, where they are still as they were read.

    :returns: how many were replaced.
    """
    if not changed:
        return 0
    return execute(
        connection,
        WRITE.format(table=place.table, column=place.column),
        {
            "ids": arrays.uuids([signed.id for signed, _ in changed]),
            "old": arrays.binaries([signed.envelope for signed, _ in changed]),
            "new": arrays.binaries([envelope for _, envelope in changed]),
        },
    )
