"""Make scheduled tasks due at once, and change the priority of tasks that wait."""

import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, held, marks, ready
from autotask.store.connection import rows

# Rows are locked in the order of their ids, as everybody does who locks several.
_MEANT = """
meant AS MATERIALIZED (
    SELECT t.id FROM autotask_task t WHERE t.id = ANY(%(ids)s::uuid[]) AND {condition} ORDER BY t.id FOR NO KEY UPDATE
)"""

NOW = f"""
WITH {_MEANT.format(condition="state = 0")},
come_due AS (
    UPDATE autotask_task t
    SET run_at = clock_timestamp(), state = {marks.DUE_STATE}, ready_at = {marks.DUE_READY_AT},
        gate = coalesce({marks.FIRST_GATE}, t.gate), passed = 0 * t.passed
    FROM meant WHERE t.id = meant.id
    RETURNING {held.RETURNING}
),
come AS ({ready.come("come_due")}),
{held.waiting("come_due")}
SELECT id FROM come_due
"""

# A ready or held one is moved in that table as well. With its old priority it may still be there when the new row is inserted,
# so that is deleted first.
PRIORITY = f"""
WITH {held.locked_first("t.id = ANY(%(ids)s::uuid[])", "t.id")},
{_MEANT.format(condition=held.WAITS)},
moved AS (
    UPDATE autotask_ready SET priority = %(priority)s WHERE ctid = ANY(ARRAY(SELECT address FROM still_ready))
),
taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM still_held)) RETURNING id),
changed AS (
    UPDATE autotask_task t SET priority = %(priority)s
    WHERE t.id = ANY(ARRAY(SELECT id FROM meant)) AND (t.state <> 8 OR t.id = ANY(ARRAY(SELECT id FROM taken)))
    RETURNING {held.RETURNING}
),
held AS ({held.come("changed")})
SELECT id FROM changed
"""


def make_due(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Make scheduled tasks due now, and return those that were: they are ready, or wait at their first gate."""
    return [id for (id,) in rows(connection, NOW, {"ids": arrays.uuids(ids)})]


def prioritize(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID], priority: int) -> list[uuid.UUID]:
    """Change the priority of tasks that do not run, and return those that were changed."""
    return [id for (id,) in rows(connection, PRIORITY, {"ids": arrays.uuids(ids), "priority": priority})]
