"""Put an ended task back in the queue, for the retry button."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

# The id stays, so handles and the signature of the payload stay valid; the counts of failures and deaths start anew.
# That it had to begin before some moment is forgotten: whoever retries it wants it run now.
REQUEUE = """
WITH gone AS (
    DELETE FROM autotask_result WHERE id = %(id)s AND state IN (4, 5) AND payload IS NOT NULL RETURNING *
)
INSERT INTO autotask_task (id, name, queue, priority, state, created_at, run_at, ready_at, attempt,
                           retries, ttl, timeout, executor, arguments, schedule, scheduled_for, at_most_once, payload)
SELECT id, name, queue, priority, 1, created_at, clock_timestamp(), clock_timestamp(), attempt,
       retries, ttl, timeout, executor, arguments, schedule, scheduled_for, at_most_once, payload
FROM gone
RETURNING id
"""


def requeue(connection: BaseDatabaseWrapper, id: uuid.UUID) -> bool:
    """Make a task that ended in ERROR or was cancelled run again at once.

    :returns: whether it could be done; a task that is live, DONE or pruned cannot.
    """
    return bool(rows(connection, REQUEUE, {"id": id}))
