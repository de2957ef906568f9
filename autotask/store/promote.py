"""Make scheduled tasks ready when they are due."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import held, marks, ready
from autotask.store.connection import rows
from autotask.store.gates import UNTIL_NEXT
from autotask.store.isolation import Refusals
from autotask.store.prepared import prepared_rows
from autotask.task import State

# statement_timestamp() and not clock_timestamp(), which is volatile: the index condition would become a filter, and the
# scan would walk all future rows.
DUE = """
SELECT id FROM autotask_task WHERE state = 0 AND run_at <= statement_timestamp() {unless} ORDER BY run_at LIMIT {limit}
"""

# A worker with older code leaves "passed" as it is in a retry: the task would wait for a slot that it has itself.
_UPDATE = f"""
UPDATE autotask_task t
SET state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT}, gate = coalesce({marks.FIRST_GATE}, t.gate),
    passed = 0 * t.passed
FROM due WHERE t.id = due.id
"""

#: The seconds until a task is due, or a mark; not positive if one is, NULL if none is set.
UNTIL_DUE = f"""
SELECT least((SELECT extract(epoch FROM run_at - statement_timestamp())::float8 FROM autotask_task
              WHERE state = 0 ORDER BY run_at LIMIT 1),
             ({UNTIL_NEXT}))
"""

PROMOTE = f"""
WITH due AS MATERIALIZED ({DUE} FOR NO KEY UPDATE SKIP LOCKED),
promoted AS (
    {_UPDATE}
    RETURNING {held.RETURNING}
),
come AS ({ready.come("promoted")}),
{held.waiting("promoted")}
SELECT (SELECT count(*) FROM promoted),
       least((SELECT extract(epoch FROM run_at - statement_timestamp())::float8 FROM autotask_task
              WHERE state = 0 AND run_at > statement_timestamp() ORDER BY run_at LIMIT 1),
             ({UNTIL_NEXT}))
"""

PROMOTE_THESE = f"""
WITH due AS MATERIALIZED (
    SELECT id FROM autotask_task t WHERE id = ANY(%(id)s::uuid[]) AND {held.has_state(State.SCHEDULED)}
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
),
promoted AS ({_UPDATE} RETURNING {held.RETURNING}),
come AS ({ready.come("promoted")}),
{held.waiting("promoted")}
SELECT count(*) FROM promoted
"""

#: Leaves out tasks that the database has refused lately; without any, the statement has no such condition.
_UNLESS = "AND id <> ALL(%(spared)s::uuid[])"


def refusals() -> Refusals[uuid.UUID]:
    """Return a memory for the tasks that the database refuses to make ready."""
    return Refusals("The scheduled task %s cannot be made ready")


def promote(
    connection: BaseDatabaseWrapper, limit: int = 500, *, refused: Refusals[uuid.UUID] | None = None
) -> tuple[int, float | None]:
    """Make up to *limit* due tasks ready. One that the database refuses does not hold up others.

    :param refused: remembers tasks that were refused before.
    :returns: how many, and the seconds until the next one is due (None: none is scheduled, or that is unknown).
    """
    refused = refusals() if refused is None else refused
    spared = refused.spared()
    words = {"unless": _UNLESS if spared else "", "limit": int(limit)}
    params = {"spared": spared} if spared else {}

    def whole() -> tuple[int, float | None]:
        count, seconds = prepared_rows(connection, PROMOTE.format(**words), params)[0]
        return count, seconds

    parts = refused.run_found(
        whole,
        lambda: [id for (id,) in rows(connection, DUE.format(**words), params)],
        lambda ids: (int(rows(connection, PROMOTE_THESE, {"id": list(ids)})[0][0]), None),
    )
    return sum(count for count, _ in parts), parts[0][1] if len(parts) == 1 else None
