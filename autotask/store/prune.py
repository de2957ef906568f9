"""Delete results whose time to live is over, in small pieces."""

import time
import uuid
from collections.abc import Sequence
from typing import NamedTuple

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import history
from autotask.store.connection import rows
from autotask.store.errors import is_timeout
from autotask.store.isolation import Refusals

#: The most results, attempts and bytes that one piece deletes, which takes a few tenths of a second on a busy machine.
RESULTS = 1000
ATTEMPTS = 10_000
BYTES = 32 * 2**20

#: Seconds after which a piece is slow, so that the next one is half as large, and within which it is so quick that the next
#: one may be larger again.
SLOW = 0.5
QUICK = 0.1

#: The smallest part of a piece that is tried.
SMALLEST = 1 / 128

# * SKIP LOCKED lets several workers prune at the same time. With arrays the planner finds the rows to delete in the index; in
#   a join it might read all there are.
# * Of the longest kept results, those with few attempts go first, so that one with a million does not hold up the others.
# * Sizes are those of the stored values, and are known without reading them.
# * A result is deleted with the last of its attempts. Until then it stays as it was, with fewer attempts; the index has the
#   oldest attempts of a task first.
# * A result is kept until all its recipients were notified.
# * Attempts found in the order of "place" up to a limit are complete for each place but the last one.
SETTLED = "(on_end IS NULL OR settled_at IS NOT NULL)"

PRUNE = """
WITH old AS MATERIALIZED (
    SELECT id, attempt, coalesce(pg_column_size(payload), 0) + coalesce(pg_column_size(value), 0) AS size, kept_until
    FROM autotask_result
    WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s' AND {settled} AND {which}
    ORDER BY kept_until LIMIT {results}
    FOR UPDATE SKIP LOCKED
),
counted AS (
    SELECT id, row_number() OVER few_first AS place,
           sum(attempt) OVER few_first - attempt AS attempts, sum(size) OVER few_first - size AS bytes
    FROM old
    WINDOW few_first AS (ORDER BY attempt, kept_until, id ROWS UNBOUNDED PRECEDING)
),
chosen AS MATERIALIZED (SELECT id, place FROM counted WHERE attempts < {attempts} AND bytes < {bytes}),
found AS MATERIALIZED (
    SELECT attempt.id, chosen.place, attempt.size
    FROM chosen CROSS JOIN LATERAL (
        SELECT a.id, pg_column_size(a.traceback) + pg_column_size(a.error_message) AS size
        FROM autotask_attempt a WHERE a.task_id = chosen.id LIMIT {attempts}
    ) AS attempt
    ORDER BY chosen.place LIMIT {attempts}
),
doomed AS MATERIALIZED (
    SELECT id, place FROM (
        SELECT id, place, sum(size) OVER (ORDER BY place, id ROWS UNBOUNDED PRECEDING) - size AS bytes FROM found
    ) AS weighed
    WHERE bytes < {bytes}
),
complete AS (
    SELECT id FROM chosen
    WHERE place < (SELECT max(place) FROM doomed)
          OR (SELECT count(*) FROM doomed) = (SELECT count(*) FROM found) AND (SELECT count(*) FROM found) < {attempts}
),
attempts AS (DELETE FROM autotask_attempt WHERE id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING 1),
steps AS (DELETE FROM autotask_step WHERE task_id = ANY(ARRAY(SELECT id FROM complete))),
results AS (DELETE FROM autotask_result WHERE id = ANY(ARRAY(SELECT id FROM complete)) RETURNING {returned}){keep}
SELECT (SELECT count(*) FROM results), (SELECT count(*) FROM attempts), (SELECT count(*) FROM old)
"""

_ALL_BUT = "id <> ALL(%(ids)s::uuid[])"
_ONLY = "id = ANY(%(ids)s::uuid[])"

OLD = f"""
SELECT id FROM autotask_result
WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s' AND {SETTLED} AND {_ALL_BUT}
ORDER BY kept_until LIMIT %(limit)s
"""

#: The condition that there is one. A part of another statement.
SOME_ARE_OLD = f"""(
SELECT true FROM autotask_result WHERE kept_until < statement_timestamp() AND {SETTLED} ORDER BY kept_until LIMIT 1
) IS NOT NULL"""

PRUNABLE = f"""
SELECT count(*) FROM autotask_result
WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s' AND {SETTLED}
"""


class Pruned(NamedTuple):
    """The numbers of rows that one piece has deleted.

    :ivar more: whether there is more to delete.
    """

    results: int
    attempts: int
    more: bool


class Pruning:
    """Deletes piece by piece; slow pieces become smaller.

    A result that the database refuses to delete, for example because a foreign key of the site refers to it, does not hold
    up others, and is tried again from time to time.

    :param longer: delete only results whose time to live has been over for this many seconds.
    :param keeps: whether something is kept of their tasks, see :mod:`autotask.store.history`.
    """

    def __init__(self, longer: float = 0, *, keeps: bool = False) -> None:
        self._longer = longer
        self._keeps = keeps
        self._share = 1.0
        self._refused: Refusals[uuid.UUID] = Refusals(
            "The result of task %s is past its time to live, and cannot be deleted"
        )

    def piece(self, connection: BaseDatabaseWrapper) -> Pruned:
        """Delete one piece.

        :raises django.db.DatabaseError: it failed, even with much smaller pieces.
        """
        began = time.monotonic()
        try:
            pruned = self._prune(connection)
        except DatabaseError as error:
            if not is_timeout(error) or self._share <= SMALLEST or connection.in_atomic_block:
                raise
            self._share /= 2
            return Pruned(0, 0, more=True)
        seconds = time.monotonic() - began
        if seconds > SLOW:
            self._share = max(SMALLEST, self._share / 2)
        elif seconds < QUICK:
            self._share = min(1.0, self._share * 2)
        return pruned

    def _prune(self, connection: BaseDatabaseWrapper) -> Pruned:
        limit, attempts, size = (max(1, int(most * self._share)) for most in (RESULTS, ATTEMPTS, BYTES))
        spared = self._refused.spared()
        parts = self._refused.run_found(
            lambda: prune(connection, limit, attempts, size, self._longer, spared=spared, keeps=self._keeps),
            lambda: _old(connection, limit, self._longer, spared),
            lambda ids: prune(connection, limit, attempts, size, self._longer, only=ids, keeps=self._keeps),
        )
        return Pruned(
            sum(part.results for part in parts),
            sum(part.attempts for part in parts),
            # After a refusal nothing is known about the results after this piece.
            more=parts[0].more if len(parts) == 1 else bool(parts),
        )


def prune(
    connection: BaseDatabaseWrapper,
    limit: int = RESULTS,
    attempts: int = ATTEMPTS,
    most_bytes: int = BYTES,
    longer: float = 0,
    *,
    spared: Sequence[uuid.UUID] = (),
    only: Sequence[uuid.UUID] | None = None,
    keeps: bool = False,
) -> Pruned:
    """Delete results whose time to live has been over for *longer* seconds, with their attempts.

    :param attempts: the limit for attempts. A result with more stays until the last of them is deleted.
    :param most_bytes: the result or attempt that reaches this many is the last one deleted.
    :param only: the only results to delete; None: all but *spared*.
    :param keeps: whether something is kept of their tasks.
    """
    which, ids = (_ALL_BUT, spared) if only is None else (_ONLY, only)
    returned, keep = (history.RETURNED, f",{history.KEEP}") if keeps else ("1", "")
    sql = PRUNE.format(
        results=int(limit),
        attempts=int(attempts),
        bytes=int(most_bytes),
        which=which,
        settled=SETTLED,
        returned=returned,
        keep=keep,
    )
    results, deleted, old = rows(connection, sql, {"longer": longer, "ids": list(ids)})[0]
    return Pruned(results, deleted, more=old == limit or results < old)


def _old(connection: BaseDatabaseWrapper, limit: int, longer: float, spared: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    return [id for (id,) in rows(connection, OLD, {"longer": longer, "limit": limit, "ids": list(spared)})]


def prunable(connection: BaseDatabaseWrapper, longer: float = 0) -> int:
    """Return the number of results to delete."""
    return int(rows(connection, PRUNABLE, {"longer": longer})[0][0])
