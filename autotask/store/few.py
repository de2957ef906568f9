"""The ids of tasks in a state that has a table of its own, if they are few: a list of them needs no search through all tasks."""

import uuid
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows
from autotask.task import State

# In the order of its primary key, or the database would read the table of ready tasks from its front.
_FROM = {
    State.RUNNING: "autotask_running",
    State.READY: "autotask_ready ORDER BY queue, priority, executor, ready_at",
    State.HELD: "autotask_held ORDER BY gate, rank, run_at, id",
}


def ids(connection: BaseDatabaseWrapper, state: State, most: int) -> list[uuid.UUID] | None:
    """Return the ids of the tasks that run, are ready or held; None if there are more than *most*."""
    return _ids(connection, _FROM[state], {"limit": most + 1})


def ids_at(connection: BaseDatabaseWrapper, gate: str, most: int) -> list[uuid.UUID] | None:
    """Return the ids of the tasks that wait at a gate; None if there are more than *most*."""
    return _ids(connection, "autotask_held WHERE gate = %(gate)s", {"gate": gate, "limit": most + 1})


def _ids(connection: BaseDatabaseWrapper, source: str, params: dict[str, Any]) -> list[uuid.UUID] | None:
    found = rows(connection, f"SELECT id FROM {source} LIMIT %(limit)s", params)
    return None if len(found) == params["limit"] else [id for (id,) in found]
