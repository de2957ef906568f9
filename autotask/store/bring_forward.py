"""Make scheduled tasks due at once, and change the priority of tasks that wait."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, marks, ready
from autotask.store.connection import rows

NOW = f"""
WITH {ready.locked("t.id = ANY(%(ids)s::uuid[]) AND t.state = 0", "t.state = 0")},
come_due AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT},
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = 0 * t.passed
    FROM locked WHERE t.id = locked.id
    RETURNING {ready.RETURNING}, t.gate
),
come AS ({ready.come("come_due")}),
marked AS ({marks.waiting("come_due")})
SELECT id FROM come_due
"""

# A ready one is moved in the ready table as well.
PRIORITY = f"""
WITH {ready.locked("t.id = ANY(%(ids)s::uuid[])")},
moved AS (
    UPDATE autotask_ready SET priority = %(priority)s WHERE ctid = ANY(ARRAY(SELECT address FROM locked))
)
UPDATE autotask_task t SET priority = %(priority)s WHERE t.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING t.id
"""


def make_due(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Make scheduled tasks due now, and return those that were: they are ready, or wait at their first gate."""
    return [id for (id,) in rows(connection, NOW, {"ids": arrays.uuids(ids)})]


def prioritize(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID], priority: int) -> list[uuid.UUID]:
    """Change the priority of tasks that do not run, and return those that were changed."""
    return [id for (id,) in rows(connection, PRIORITY, {"ids": arrays.uuids(ids), "priority": priority})]
