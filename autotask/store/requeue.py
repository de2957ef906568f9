"""Put an ended task back in the queue, for the retry button."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import columns
from autotask.store.connection import rows

# The id stays, so handles and the signature of the payload stay valid; the counts of failures and deaths start anew.
# That it had to begin before some moment is forgotten: whoever retries it wants it run now.
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
    """Make a task that ended in ERROR or was cancelled run again at once.

    :returns: whether it could be done; a task that is live, DONE or pruned cannot.
    """
    return bool(rows(connection, REQUEUE, {"id": id}))
