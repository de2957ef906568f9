"""The lines that tasks have logged, in pieces: workers add some each second, and delete the oldest of attempts that log much."""

import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute, rows

#: The most pieces that one statement of the pruner deletes.
PIECES = 1000

#: The pieces that are read at a time where all are.
SOME_PIECES = 16


class Piece(NamedTuple):
    """Some lines of one attempt.

    :ivar id: pieces of later lines have larger ones.
    :ivar text: whole lines, each with its end.
    """

    id: int
    attempt: int
    text: str


# A crash of the server may lose the last lines of tasks that run, so nobody waits for the disk.
# The setting counts for the transaction of this statement. unnest() returns elements in their order, so pieces of later lines
# have larger ids.
WRITE = """
INSERT INTO autotask_log (task_id, attempt, at, text)
SELECT new.task_id, new.attempt, clock_timestamp(), new.text
FROM unnest(%(task_id)s::uuid[], %(attempt)s::integer[], %(text)s::text[]) AS new(task_id, attempt, text)
WHERE (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
"""

FORGET = """
DELETE FROM autotask_log WHERE id = ANY(ARRAY(
    SELECT piece.id
    FROM unnest(%(task_id)s::uuid[], %(attempt)s::integer[], %(count)s::integer[]) AS full_one(task_id, attempt, count)
    CROSS JOIN LATERAL (
        SELECT id FROM autotask_log
        WHERE task_id = full_one.task_id AND attempt = full_one.attempt ORDER BY id LIMIT full_one.count
    ) AS piece
))
"""

READ = """
SELECT id, attempt, text FROM autotask_log
WHERE task_id = %(task_id)s AND id > %(after)s AND (%(attempt)s::integer IS NULL OR attempt = %(attempt)s::integer)
ORDER BY id
"""

SOME = """
SELECT id, text FROM autotask_log WHERE task_id = %(task_id)s AND id > %(after)s ORDER BY id LIMIT %(limit)s
"""

# The sizes are known without the texts themselves, which may be elsewhere.
LAST = """
SELECT text FROM autotask_log WHERE task_id = %(task_id)s AND id = ANY(ARRAY(
    SELECT id FROM (
        SELECT id, sum(octet_length(text)) OVER (ORDER BY id DESC) - octet_length(text) AS later
        FROM autotask_log WHERE task_id = %(task_id)s
    ) AS piece WHERE later < %(most)s
)) ORDER BY id
"""

# Older pieces have smaller ids, or nearly so, which saves an index on their time. A line that is a little too early for their
# order waits for the next look.
PRUNE = """
DELETE FROM autotask_log WHERE id = ANY(ARRAY(
    SELECT id FROM (SELECT id, at FROM autotask_log ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS oldest
    WHERE at < statement_timestamp() - %(seconds)s * interval '1 s'
))
"""


def write(connection: BaseDatabaseWrapper, pieces: Sequence[tuple[uuid.UUID, int, str]]) -> None:
    """Store pieces.

    :param pieces: task, attempt and whole lines, whose characters can all be printed.
    """
    ids, attempts, texts = zip(*pieces, strict=True)
    params = {"task_id": arrays.uuids(ids), "attempt": arrays.numbers(attempts), "text": arrays.texts(texts)}
    execute(connection, WRITE, params)


def forget(connection: BaseDatabaseWrapper, outdated: Sequence[tuple[uuid.UUID, int, int]]) -> None:
    """Delete the oldest pieces of attempts.

    :param outdated: task, attempt, and how many pieces.
    """
    ids, attempts, counts = zip(*outdated, strict=True)
    params = {"task_id": arrays.uuids(ids), "attempt": arrays.numbers(attempts), "count": arrays.numbers(counts)}
    execute(connection, FORGET, params)


def read(
    connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None = None, *, after: int = 0
) -> list[Piece]:
    """Return the lines of a task, oldest first.

    :param attempt: the number of one attempt; None: all.
    :param after: only pieces with larger ids.
    """
    return [Piece(*row) for row in rows(connection, READ, {"task_id": task_id, "attempt": attempt, "after": after})]


def lines(connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None = None) -> str:
    """Return the lines of a task as one text; "" if there are none."""
    return "".join(piece.text for piece in read(connection, task_id, attempt))


def each_piece(connection: BaseDatabaseWrapper, task_id: uuid.UUID) -> Iterator[str]:
    """Yield all lines of a task, oldest first, some at a time: together they may be more than fits into memory."""
    after = 0
    while found := rows(connection, SOME, {"task_id": task_id, "after": after, "limit": SOME_PIECES}):
        yield from (lines for _, lines in found)
        after = found[-1][0]


def last_lines(connection: BaseDatabaseWrapper, task_id: uuid.UUID, most: int) -> str:
    """Return the last lines of a task: many attempts may have logged much.

    :param most: bytes to return at least, if there are that many; not more than those and one piece.
    """
    return "".join(piece for (piece,) in rows(connection, LAST, {"task_id": task_id, "most": most}))


def prune(connection: BaseDatabaseWrapper, seconds: float) -> bool:
    """Delete one piece of the lines that are older; return whether there may be more."""
    return execute(connection, PRUNE, {"seconds": seconds, "limit": PIECES}) == PIECES
