"""The ids of tasks in a state that has a table of its own, if they are few: a list of them needs no search through all tasks."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows
from autotask.task import State

# In the order of its primary key, or the database would read the table of ready tasks from its front.
_FROM = {
    State.RUNNING: "autotask_running",
    State.READY: "autotask_ready ORDER BY queue, priority, executor, ready_at",
}


def ids(connection: BaseDatabaseWrapper, state: State, most: int) -> list[uuid.UUID] | None:
    """Return the ids of the tasks that run or are ready; None if there are more than *most*."""
    found = rows(connection, f"SELECT id FROM {_FROM[state]} LIMIT %(limit)s", {"limit": most + 1})
    return None if len(found) > most else [id for (id,) in found]
