"""Find a task by the beginning of its id, and the states of many, and their order."""

import uuid
from collections.abc import Iterable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, held
from autotask.store.connection import rows
from autotask.task import State

# Ids with the same beginning are next to each other in each primary key, so each branch reads two entries at most. A row
# that was restored from a backup may be in two tables.
BETWEEN = """
SELECT id, bool_and(past) FROM (
    (SELECT id, false AS past FROM autotask_task WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2)
    UNION ALL
    (SELECT id, false FROM autotask_result WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2)
    UNION ALL
    (SELECT id, true FROM autotask_history WHERE id BETWEEN %(first)s AND %(last)s LIMIT 2)
) AS found
GROUP BY id LIMIT 2
"""

STATES = f"""
SELECT t.id, {held.STATE} FROM autotask_task t WHERE t.id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT id, state FROM autotask_result WHERE id = ANY(%(ids)s::uuid[])
"""


KEYS = """
SELECT id, flow ->> 'unique' FROM autotask_task WHERE id = ANY(%(ids)s::uuid[]) AND flow IS NOT NULL
UNION ALL
SELECT id, flow ->> 'unique' FROM autotask_result WHERE id = ANY(%(ids)s::uuid[]) AND flow IS NOT NULL
"""


def between(connection: BaseDatabaseWrapper, first: uuid.UUID, last: uuid.UUID) -> dict[uuid.UUID, bool]:
    """Return the ids of tasks from *first* to *last*, with whether their results are gone.

    These are at most two: enough to see that the beginning is ambiguous.
    """
    return dict(rows(connection, BETWEEN, {"first": first, "last": last}))


def states(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, State]:
    """Return the states of the tasks that exist."""
    return {id: State(state) for id, state in rows(connection, STATES, {"ids": arrays.uuids(ids)})} if ids else {}


def in_order_of_keys(connection: BaseDatabaseWrapper, ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Return ids in the order of their unique keys.

    Calls take and replace keys in this order, the byte order of their names. A transaction that touches several tasks in
    another order could wait for one that waits for it.
    """
    ids = set(ids)
    found = rows(connection, KEYS, {"ids": arrays.uuids(ids)}) if ids else []
    keys = {id: key.encode() for id, key in found if key is not None}
    return sorted(ids, key=lambda id: (keys.get(id, b""), id))
