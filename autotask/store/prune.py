"""Delete results past their keeping time, in small batches."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

# SKIP LOCKED lets several workers prune side by side. The attempts go with their task.
PRUNE = """
WITH old AS MATERIALIZED (
    SELECT id FROM autotask_result
    WHERE kept_until < statement_timestamp() - %(longer)s * interval '1 s'
    ORDER BY kept_until LIMIT {limit}
    FOR UPDATE SKIP LOCKED
),
attempts AS (DELETE FROM autotask_attempt a USING old WHERE a.task_id = old.id),
results AS (DELETE FROM autotask_result r USING old WHERE r.id = old.id RETURNING 1)
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
