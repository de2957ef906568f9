"""The lines that tasks have logged, in pieces: workers add some each second, and delete the oldest of attempts that log much.

A piece has the lines of many attempts that ended at about the same time, each after its mark, or of one that runs. A row for
each attempt would take the server three times as long, and ten times as much WAL.
"""

import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute, rows
from autotask.store.prepared import bare_rows
from autotask.task_log import LOGGER
from autotask.texts.lines import INDENT

#: The most pieces that one statement of the pruner deletes; each has up to about :data:`LARGE` bytes.
PIECES = 100

#: The largest number of an attempt that may be asked for.
LAST_ATTEMPT = 999_999_999

#: The pieces that are read at a time where all are.
SOME_PIECES = 16

#: Characters after which a piece has no further attempt.
LARGE = 64 * 1024

#: Bits of an id that may differ among the tasks of one piece: ids begin with their time, so these are 4 seconds. To find the lines
#: of a task, only the pieces of tasks are read that were enqueued in the same seconds.
SAME_TIME = 92


class Piece(NamedTuple):
    """Some lines of one attempt.

    :ivar id: pieces of later lines have larger ones.
    :ivar attempt: its number.
    :ivar before: how many lines it had before these.
    :ivar text: whole lines, each with its end.
    """

    id: int
    attempt: int
    before: int
    text: str


class Place:
    """A place in the lines of a task, up to which they were read.

    :ivar seen: the ids of the pieces that were read, and may still be there.
    """

    def __init__(self) -> None:
        self.seen: set[int] = set()
        #: By attempt, the number of lines up to here; this attempt and those before it may have others that were not asked for.
        self._counts: dict[int, int] = {}
        self._unread = 0

    def begin_at(self, piece: Piece) -> None:
        """Take nothing for missing that is before this piece."""
        self._unread = piece.attempt

    def text_of(self, piece: Piece) -> str:
        """Return the lines of the next piece, after one that says how many are missing before them."""
        begin = piece.before if piece.attempt <= self._unread else 0
        here = self._counts.get(piece.attempt, begin)
        self._counts[piece.attempt] = max(here, piece.before + count(piece.text))
        return piece.text if piece.before <= here else _gap(piece, piece.before - here) + piece.text


class NewPiece(NamedTuple):
    """A piece to store.

    :ivar first: the smallest id of its tasks.
    :ivar last: the largest.
    :ivar text: what :func:`marked` returns, for each of its attempts.
    """

    first: uuid.UUID
    last: uuid.UUID
    text: str


# A crash of the server may lose the last lines of tasks that run, so nobody waits for the disk.
# The setting counts for the transaction of this statement. unnest() returns elements in their order, so pieces of later lines
# have larger ids.
WRITE = """
INSERT INTO autotask_log (first_id, last_id, at, text)
SELECT new.first_id, new.last_id, clock_timestamp(), new.text
FROM unnest(%(first_id)s::uuid[], %(last_id)s::uuid[], %(text)s::text[]) AS new(first_id, last_id, text)
WHERE (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
RETURNING 1
"""

# Pieces are locked in the order in which those of discarded tasks are.
FORGET = """
WITH oldest AS MATERIALIZED (
    SELECT piece.id
    FROM unnest(%(task_id)s::uuid[], %(mark)s::text[], %(count)s::integer[]) AS full_one(task_id, mark, count)
    CROSS JOIN LATERAL (
        SELECT id FROM autotask_log
        WHERE first_id = full_one.task_id AND last_id = full_one.task_id
          AND left(text, length(full_one.mark)) = full_one.mark AND strpos(substr(text, 2), E'\\x01') = 0
        ORDER BY id LIMIT full_one.count
    ) AS piece
)
DELETE FROM autotask_log WHERE id = ANY(ARRAY(
    SELECT id FROM autotask_log WHERE id = ANY(ARRAY(SELECT id FROM oldest)) ORDER BY id FOR UPDATE
))
"""

# The pieces that may have lines of a task: its own, and shared ones whose ids differ from its own in no more than the last
# SAME_TIME bits. A bulk may have a million tasks with pieces of their own in these seconds, so shared ones have an index.
AROUND = """
(first_id = {id} OR first_id < last_id
 AND first_id BETWEEN (left({id}::text, 10) || '000-0000-0000-000000000000')::uuid AND {id} AND last_id >= {id})
"""

# With "id + 0", PostgreSQL does not search all pieces by their ids, where it expects many of this task.
_READ = f"""
SELECT piece.id, part.lines
FROM (
    SELECT id, text FROM autotask_log
    WHERE {AROUND.format(id="%(task_id)s::uuid")}
      AND {{bound}} AND strpos(text, E'\\x01' || %(mark)s::text) > 0 ORDER BY id + 0 {{order}} LIMIT %(limit)s::integer
) AS piece
CROSS JOIN LATERAL unnest(string_to_array(piece.text, E'\\x01')) WITH ORDINALITY AS part(lines, place)
WHERE left(part.lines, length(%(mark)s::text)) = %(mark)s::text
ORDER BY piece.id, part.place
"""

READ_ON = _READ.format(bound="id + 0 > %(after)s::bigint", order="")
READ_BACK = _READ.format(bound="id + 0 < %(before)s::bigint", order="DESC")
READ_NEW = _READ.format(bound="id <> ALL(%(seen)s::bigint[])", order="")

STILL_THERE = "SELECT id FROM autotask_log WHERE id = ANY(%(seen)s::bigint[])"

# Older pieces have smaller ids, or nearly so, which saves an index on their time. A line that is a little too early for their
# order waits for the next look.
PRUNE = """
DELETE FROM autotask_log WHERE id = ANY(ARRAY(
    SELECT id FROM (SELECT id, at FROM autotask_log ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS oldest
    WHERE at < statement_timestamp() - %(seconds)s * interval '1 s'
))
"""

#: The largest id of a row.
_LAST = 2**63 - 1


def count(lines: str) -> int:
    """Return the number of lines in a text; those that are indented continue the one before."""
    return lines.count("\n") - lines.count(f"\n{INDENT}")


def after(number: int, lines: str) -> str:
    """Return the lines of an attempt with the number of those before them, so that readers see which are missing."""
    return f"\x02{number}\n{lines}" if number else lines


def marked(number: int, attempt: int, lines: str) -> str:
    """Return the lines of an attempt with its mark, for a piece.

    :param number: the id of the task.
    :param lines: whole lines, each with its end, whose other characters can all be printed: so no line looks like a mark.
    """
    return f"\x01{number:032x} {attempt}\n{lines}"


def alone(task_id: uuid.UUID, attempt: int, lines: str, before: int = 0) -> NewPiece:
    """Return the piece that has lines of one attempt.

    :param before: how many lines it had before these.
    """
    return NewPiece(task_id, task_id, marked(task_id.int, attempt, after(before, lines)))


def write(connection: BaseDatabaseWrapper, pieces: Sequence[NewPiece]) -> None:
    """Store pieces."""
    firsts, lasts, texts = zip(*pieces, strict=True)
    params = {"first_id": arrays.uuids(firsts), "last_id": arrays.uuids(lasts), "text": arrays.texts(texts)}
    bare_rows(connection, WRITE, params)


def forget(connection: BaseDatabaseWrapper, outdated: Sequence[tuple[uuid.UUID, int, int]]) -> None:
    """Delete the oldest pieces of attempts that have pieces of their own.

    :param outdated: task, attempt, and how many pieces.
    """
    ids, attempts, counts = zip(*outdated, strict=True)
    marks = [marked(id.int, attempt, "") for id, attempt in zip(ids, attempts, strict=True)]
    params = {"task_id": arrays.uuids(ids), "mark": arrays.texts(marks), "count": arrays.numbers(counts)}
    execute(connection, FORGET, params)


def lines(connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None = None) -> str:
    """Return the lines of a task as one text, oldest first; "" if there are none.

    :param attempt: the number of one attempt; None: all.
    """
    return "".join(map(Place().text_of, _read(connection, READ_ON, task_id, attempt, after=0)))


def new_lines(connection: BaseDatabaseWrapper, task_id: uuid.UUID, attempt: int | None, place: Place) -> str:
    """Return the lines of a task that have come since the last call.

    A piece may be there later than one with a larger id: two workers write at the same time, and one of them commits first.

    :param place: where the last call has ended. This call changes it.
    """
    found = _read(connection, READ_NEW, task_id, attempt, seen=arrays.numbers(place.seen))
    if found:  # Those that are deleted meanwhile would become ever more.
        place.seen &= {id for (id,) in rows(connection, STILL_THERE, {"seen": arrays.numbers(place.seen)})}
        place.seen |= {piece.id for piece in found}
    return "".join(map(place.text_of, found))


def each_piece(connection: BaseDatabaseWrapper, task_id: uuid.UUID) -> Iterator[str]:
    """Yield all lines of a task, oldest first, some at a time: together they may be more than fits into memory."""
    place, after = Place(), 0
    while found := _read(connection, READ_ON, task_id, after=after, limit=SOME_PIECES):
        yield from map(place.text_of, found)
        after = found[-1].id


def last_lines(connection: BaseDatabaseWrapper, task_id: uuid.UUID, most: int) -> str:
    """Return the last lines of a task: many attempts may have logged much.

    :param most: characters to return at least, if there are that many; not more than those and one piece.
    """
    last: deque[Piece] = deque()
    before, place = _LAST, Place()
    while most > 0 and (found := _read(connection, READ_BACK, task_id, before=before, limit=SOME_PIECES)):
        before = found[0].id
        while found and most > 0:
            last.appendleft(found.pop())
            most -= len(last[0].text)
    if most <= 0 and last:
        place.begin_at(last[0])
    return "".join(map(place.text_of, last))


def prune(connection: BaseDatabaseWrapper, seconds: float) -> bool:
    """Delete some of the lines that are older; return whether there may be more."""
    return execute(connection, PRUNE, {"seconds": seconds, "limit": PIECES}) == PIECES


def _read(
    connection: BaseDatabaseWrapper,
    sql: str,
    task_id: uuid.UUID,
    attempt: int | None = None,
    limit: int | None = None,
    **bound: Any,
) -> list[Piece]:
    mark = f"{task_id.hex} " if attempt is None else marked(task_id.int, attempt, "")[1:]
    found = rows(connection, sql, {"task_id": task_id, "mark": mark, "limit": limit, **bound})
    return [_piece(id, text) for id, text in found]


def _piece(id: int, text: str) -> Piece:
    mark, _, lines = text.partition("\n")
    before = 0
    if lines.startswith("\x02"):
        number, _, lines = lines[1:].partition("\n")
        before = int(number)
    return Piece(id, int(mark.partition(" ")[2]), before, lines)


def _gap(piece: Piece, missing: int) -> str:
    """Return a line in place of those that are missing before a piece, with the time of the next one."""
    time = piece.text.partition(" | ")[0]
    what = "1 earlier line is" if missing == 1 else f"{missing:,} earlier lines are"
    return f"{time} | {piece.attempt} | WARNING | {LOGGER} - {what} not kept\n"
