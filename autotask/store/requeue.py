"""Put a finished task back in the queue, for the retry button."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import columns, marks
from autotask.store.connection import rows

# The id stays, so handles and the signature of the payload stay valid; the counts of failures and deaths start again.
# It has to pass its gates again. Its expiry is dropped: a retried task is wanted now.
REQUEUE = f"""
WITH gone AS (
    DELETE FROM autotask_result WHERE id = %(id)s AND state IN (4, 5) AND payload IS NOT NULL RETURNING *
)
,
back AS (
{
    columns.insert(
        "autotask_task",
        "gone CROSS JOIN LATERAL (SELECT flow->'gates'->0->>'key' AS key) AS first",
        columns.KEPT,
        state="CASE WHEN first.key IS NULL THEN 1 ELSE 8 END",
        run_at="clock_timestamp()",
        ready_at="CASE WHEN first.key IS NULL THEN clock_timestamp() END",
        gate="first.key",
        passed="CASE WHEN first.key IS NOT NULL THEN 0 END",
    )
}
RETURNING id, state, gate
),
marked AS ({marks.waiting("back")})
SELECT id FROM back
"""


def requeue(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bool:
    """Make a task that failed or was cancelled run again at once.

    :returns: False for a task that is live, DONE or pruned.
    """
    return bool(rows(connection, REQUEUE, {"id": id}))
