"""Delete results past their keeping time, in small batches."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

# SKIP LOCKED lets several workers prune side by side. The attempts go with their task. By an array the planner finds
# them in the index; in a join it might read all there are.
PRUNE = """
WITH old AS MATERIALIZED (
    SELECT id FROM autotask_result
    WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s'
    ORDER BY kept_until LIMIT {limit}
    FOR UPDATE SKIP LOCKED
),
attempts AS (DELETE FROM autotask_attempt WHERE task_id = ANY(ARRAY(SELECT id FROM old))),
results AS (DELETE FROM autotask_result WHERE id = ANY(ARRAY(SELECT id FROM old)) RETURNING 1)
SELECT count(*) FROM results
"""

PRUNABLE = """
SELECT count(*) FROM autotask_result WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s'
"""


def prune(connection: BaseDatabaseWrapper, limit: int = 1000, longer: float = 0) -> int:
    """Delete up to *limit* results whose time to live is over by at least *longer* seconds.

    :returns: how many were deleted.
    """
    return int(rows(connection, PRUNE.format(limit=int(limit)), {"longer": longer})[0][0])


def prunable(connection: BaseDatabaseWrapper, longer: float = 0) -> int:
    """Return how many results :func:`prune` would delete in all."""
    return int(rows(connection, PRUNABLE, {"longer": longer})[0][0])
