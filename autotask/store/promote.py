"""Make scheduled tasks ready when their moment has come."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.prepared import prepared_rows

# statement_timestamp() and not clock_timestamp(), which is volatile: the index condition would become a filter, and the
# scan would walk all future rows.
PROMOTE = """
WITH due AS MATERIALIZED (
    SELECT id FROM autotask_task
    WHERE state = 0 AND run_at <= statement_timestamp()
    ORDER BY run_at LIMIT {limit}
    FOR NO KEY UPDATE SKIP LOCKED
),
promoted AS (
    UPDATE autotask_task t SET state = 1, ready_at = clock_timestamp()
    FROM due WHERE t.id = due.id
    RETURNING 1
)
SELECT (SELECT count(*) FROM promoted),
       (SELECT extract(epoch FROM run_at - statement_timestamp())::float8 FROM autotask_task
        WHERE state = 0 AND run_at > statement_timestamp() ORDER BY run_at LIMIT 1)
"""


def promote(connection: BaseDatabaseWrapper, limit: int = 500) -> tuple[int, float | None]:
    """Make up to *limit* due tasks ready.

    :returns: how many, and the seconds until the next one will be due (None: none is scheduled).
    """
    count, seconds = prepared_rows(connection, PROMOTE.format(limit=int(limit)))[0]
    return count, seconds
