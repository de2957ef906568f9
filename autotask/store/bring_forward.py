"""Make scheduled tasks due at once, and change the priority of tasks that wait."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, held, marks, ready
from autotask.store.connection import rows
from autotask.task import State

_IS_SCHEDULED = held.has_state(State.SCHEDULED)

NOW = f"""
WITH {held.locked_in_order(f"t.id = ANY(%(ids)s::uuid[]) AND {_IS_SCHEDULED}", _IS_SCHEDULED)},
come_due AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT},
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = 0 * t.passed
    FROM locked WHERE t.id = locked.id
    RETURNING {held.RETURNING}
),
come AS ({ready.come("come_due")}),
{held.waiting("come_due")}
SELECT id FROM come_due
"""

# A ready or held one is moved in that table as well. A look at its gate at this moment sees neither row, so it leaves a mark for
# another one.
PRIORITY = f"""
WITH {held.locked_in_order("t.id = ANY(%(ids)s::uuid[])")},
moved AS (
    UPDATE autotask_ready SET priority = %(priority)s WHERE ctid = ANY(ARRAY(SELECT ready_address FROM locked))
),
{held.TAKEN},
changed AS (
    UPDATE autotask_task t SET priority = %(priority)s
    WHERE t.id = ANY(ARRAY(SELECT id FROM locked)) AND {held.ARE_TAKEN}
    RETURNING {held.RETURNING}
),
{held.waiting("changed")}
SELECT id FROM changed
"""


def make_due(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Make scheduled tasks due now, and return those that were: they are ready, or wait at their first gate."""
    return [id for (id,) in rows(connection, NOW, {"ids": arrays.uuids(ids)})]


def prioritize(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID], priority: int) -> list[uuid.UUID]:
    """Change the priority of tasks that do not run, and return those that were changed."""
    return [id for (id,) in rows(connection, PRIORITY, {"ids": arrays.uuids(ids), "priority": priority})]
