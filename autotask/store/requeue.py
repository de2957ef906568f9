"""Put a finished task back in the queue, for the retry button."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import columns
from autotask.store.connection import rows

# The id stays, so handles and the signature of the payload stay valid; the counts of failures and deaths start again.
# Its expiry is dropped: a retried task is wanted now.
REQUEUE = f"""
WITH gone AS (
    DELETE FROM autotask_result WHERE id = %(id)s AND state IN (4, 5) AND payload IS NOT NULL RETURNING *
)
{
    columns.insert(
        "autotask_task", "gone", columns.KEPT, state="1", run_at="clock_timestamp()", ready_at="clock_timestamp()"
    )
}
RETURNING id
"""


def requeue(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bool:
    """Make a task that failed or was cancelled run again at once.

    :returns: False for a task that is live, DONE or pruned.
    """
    return bool(rows(connection, REQUEUE, {"id": id}))
