"""Pause a schedule, and resume it."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import notify
from autotask.store.connection import rows, text

# A worker that is moving the schedule holds the lock of the row: its tick was before the pause.
PAUSE = """
UPDATE autotask_schedule SET paused_at = clock_timestamp(), paused_by = %(by)s
WHERE name = %(name)s AND paused_at IS NULL RETURNING name
"""

# Ticks during the pause are not made up for: they were left out on purpose. Workers sleep until the next tick they know,
# so they are notified after the commit.
RESUME = """
UPDATE autotask_schedule SET paused_at = NULL, paused_by = '', resumed_at = clock_timestamp()
WHERE name = %(name)s AND paused_at IS NOT NULL RETURNING name
"""


def pause(connection: BaseDatabaseWrapper, name: str, by: str) -> bool:
    """Let the ticks of a schedule pass without tasks, until it is resumed. Its waiting and running tasks stay.

    :returns: whether it was paused now; False: there is no such schedule, or it was paused already.
    """
    return bool(rows(connection, PAUSE, {"name": name, "by": text(by, 200)}))


def resume(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Let the ticks of a schedule make tasks again, from the next one on.

    :returns: whether it was resumed; False: there is no such schedule, or it was not paused.
    """
    resumed = bool(rows(connection, RESUME, {"name": name}))
    if resumed:
        notify.tell_after_commit(connection, {notify.SCHEDULES_CHANNEL: ""})
    return resumed
