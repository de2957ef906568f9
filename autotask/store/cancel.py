"""Cancel what waits; ask what runs to stop."""

import enum
import functools
import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.signals import tell_cancelled
from autotask.store import columns, notify
from autotask.store.connection import rows

# The row lock decides the race with a claim: whoever comes second sees the other's state and finds nothing to do.
CANCEL_WAITING = f"""
WITH gone AS (
    DELETE FROM autotask_task WHERE id = %(id)s AND state <> 2 RETURNING *
),
kept AS ({
    columns.insert(
        "autotask_result",
        "gone",
        columns.COMMON,
        state="5",
        ended_at="clock_timestamp()",
        kept_until="clock_timestamp() + ttl * interval '1 s'",
    )
})
SELECT name, queue, awaited FROM gone
"""

# The worker learns of it by its next heartbeat, or at once where it can hear. What runs has a fence. By its state the
# planner might look for it in the index of running rows, which is full of dead entries.
ASK_RUNNING = """
UPDATE autotask_task SET cancel_requested = true WHERE id = %(id)s AND fence IS NOT NULL RETURNING worker_id
"""

#: A task can go from waiting to running and back between two statements, but hardly this often.
_TRIES = 5


class Cancellation(enum.Enum):
    """What a request to cancel has led to."""

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    TOO_LATE = "too late"


def cancel(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Cancellation:
    """Cancel a task that waits, or ask the worker of a running one to stop it.

    :returns: what was done; TOO_LATE when the task has ended, or is not there.
    """
    for _ in range(_TRIES):
        if gone := rows(connection, CANCEL_WAITING, {"id": id}):
            (name, queue, awaited), *_ = gone
            connection.on_commit(functools.partial(tell_cancelled, id, name, queue), robust=True)
            if awaited:
                notify.tell_after_commit(connection, {notify.ended_channel(id): ""})
            return Cancellation.CANCELLED
        if asked := rows(connection, ASK_RUNNING, {"id": id}):
            notify.tell_after_commit(connection, {notify.worker_channel(asked[0][0]): ""})
            return Cancellation.REQUESTED
        if not rows(connection, "SELECT 1 FROM autotask_task WHERE id = %(id)s", {"id": id}):
            break
    return Cancellation.TOO_LATE
