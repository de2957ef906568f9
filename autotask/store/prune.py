"""Delete results past their keeping time, in small batches."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows
from autotask.store.isolation import Refusals

# SKIP LOCKED lets several workers prune side by side. The attempts go with their task. By an array the planner finds
# them in the index; in a join it might read all there are.
OLD = """
SELECT id FROM autotask_result
WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s' AND id <> ALL(%(spared)s::uuid[])
ORDER BY kept_until LIMIT {limit}
"""

_DELETE = """
attempts AS (DELETE FROM autotask_attempt WHERE task_id = ANY(ARRAY(SELECT id FROM old))),
results AS (DELETE FROM autotask_result WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING 1)
SELECT count(*) FROM results
"""

PRUNE = f"WITH old AS MATERIALIZED ({OLD} FOR UPDATE SKIP LOCKED), {_DELETE}"

PRUNE_THESE = f"""
WITH old AS MATERIALIZED (
    SELECT id FROM autotask_result
    WHERE id = ANY(%(id)s::uuid[]) AND kept_until < statement_timestamp() - %(longer)s * interval '1 s'
    FOR UPDATE SKIP LOCKED
),
{_DELETE}
"""

PRUNABLE = """
SELECT count(*) FROM autotask_result WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s'
"""


def refusals() -> Refusals[uuid.UUID]:
    """Return a memory for the results that the database refuses to delete."""
    return Refusals("The result of task %s is past its time to live, and cannot be deleted")


def prune(
    connection: BaseDatabaseWrapper,
    limit: int = 1000,
    longer: float = 0,
    *,
    refused: Refusals[uuid.UUID] | None = None,
) -> int:
    """Delete up to *limit* results whose time to live is over by at least *longer* seconds.

    One that the database refuses to delete, as where a foreign key of the site refers to it, holds up no other.

    :param refused: remembers what was refused before; None: nothing was.
    :returns: how many were deleted.
    """
    refused = refusals() if refused is None else refused
    params = {"longer": longer, "spared": refused.spared()}
    return sum(
        refused.run_found(
            lambda: int(rows(connection, PRUNE.format(limit=int(limit)), params)[0][0]),
            lambda: [id for (id,) in rows(connection, OLD.format(limit=int(limit)), params)],
            lambda ids: int(rows(connection, PRUNE_THESE, {**params, "id": list(ids)})[0][0]),
        )
    )


def prunable(connection: BaseDatabaseWrapper, longer: float = 0) -> int:
    """Return how many results :func:`prune` would delete in all."""
    return int(rows(connection, PRUNABLE, {"longer": longer})[0][0])
