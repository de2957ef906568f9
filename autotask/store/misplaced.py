"""Due tasks that are in no place: somebody has deleted rows by hand, or restored only some of the tables.

A task that is due has a row in the table of ready or of held tasks, or a place in a claim. Each statement of autotask that takes it
from one place puts it into another, so a snapshot sees all tasks in one of them. Without a place, no worker would ever find it.
"""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claims
from autotask.store.connection import execute, in_transaction, rows

#: The most tasks that one transaction repairs.
PIECE = 10_000

# By id and not by the keys of these tables: if somebody has changed a task by hand, its row there is found all the same. Not by joins:
# where statistics say that a table is empty, and it is not, the planner would read it again for each task.
_MISPLACED = """(
    SELECT id FROM autotask_task WHERE state <> 0
    EXCEPT (SELECT id FROM autotask_ready UNION ALL SELECT id FROM autotask_held UNION ALL SELECT id FROM autotask_running)
) AS t"""

FIND = f"SELECT t.id, count(*) OVER () FROM {_MISPLACED} ORDER BY t.id LIMIT %(most)s"

# The same of one task, for which each table is read once at most.
_IS_MISPLACED = """
SELECT EXISTS (SELECT FROM autotask_task WHERE id = %(id)s AND state <> 0)
   AND NOT EXISTS (SELECT FROM autotask_ready WHERE id = %(id)s)
   AND NOT EXISTS (SELECT FROM autotask_held WHERE id = %(id)s)
   AND NOT EXISTS (SELECT FROM autotask_running WHERE id = %(id)s)"""

# Two repairs at a time would give a task two claims, and so would one that has waited for another if it could not see what that has
# done: REPEATABLE READ, which a site may have as the default, sees what was there before the wait. The number is "plac" in ASCII.
_SEES_OTHERS = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
_ONE_AT_A_TIME = f"SELECT pg_advisory_xact_lock({0x706C6163}, 0)"

REPAIR = f"""
WITH found AS (SELECT t.id FROM {_MISPLACED} ORDER BY t.id LIMIT %(most)s),
made AS (
    INSERT INTO autotask_claim (number, worker_id, at, ids)
    SELECT nextval('autotask_fence'), %(nobody)s::uuid, clock_timestamp(), part.ids
    FROM (
        SELECT array_agg(id) AS ids
        FROM (SELECT id, (row_number() OVER (ORDER BY id) - 1) / {claims.MOST} AS part FROM found) AS numbered
        GROUP BY part
    ) AS part
    RETURNING ids
)
SELECT coalesce(sum(cardinality(ids)), 0)::bigint FROM made
"""


def find(connection: BaseDatabaseWrapper, most: int) -> tuple[int, list[uuid.UUID]]:
    """Return the number of due tasks that are in no place, and the ids of the oldest.

    It reads all live tasks: about a second for a million.

    :param most: how many ids to return.
    """
    found = rows(connection, FIND, {"most": most})
    return (found[0][1] if found else 0), [id for id, _ in found]


def is_misplaced(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bool:
    """Whether a task is due and in no place. There is no index for that: ask only of one that is not where its row says."""
    return bool(rows(connection, _IS_MISPLACED, {"id": id})[0][0])


def repair(connection: BaseDatabaseWrapper) -> int:
    """Have the workers rescue these tasks, as those of a dead worker: such tasks may have begun.

    They get claims of a worker that does not exist. So the next rescue counts a lost attempt, ends those that run at most once, and
    makes all others run again.

    :returns: how many there were.
    """

    def repair_piece() -> int:
        if is_outermost:
            execute(connection, _SEES_OTHERS)
        execute(connection, _ONE_AT_A_TIME)
        return int(rows(connection, REPAIR, {"nobody": uuid.uuid4(), "most": PIECE})[0][0])

    is_outermost = not connection.in_atomic_block
    repaired, piece = 0, PIECE
    while piece == PIECE:
        piece = in_transaction(connection, repair_piece)
        repaired += piece
    return repaired
