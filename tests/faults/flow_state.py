"""What must hold for the rows of flow control at any moment, and what must be true once everything has come to rest."""

import time
from collections.abc import Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.flow import Flow
from autotask.store.connection import rows
from tests.faults.world import World

#: Live tasks that have passed the gate of a limit and have no slot of it. A task that passes and its slot are written by one
#: statement, so there are none at any moment.
WITHOUT_SLOT = """
SELECT t.id::text, gate.value ->> 'key'
FROM autotask_live t, jsonb_array_elements(t.flow -> 'gates') WITH ORDINALITY AS gate(value, place)
WHERE gate.value ? 'most' AND t.passed >= gate.place
  AND NOT EXISTS (SELECT 1 FROM autotask_slot s
                  WHERE s.task_id = t.id AND s.gate = gate.value ->> 'key' AND s.place = gate.place)
"""

#: Limits with more slots taken than they have.
OVERFULL = """
SELECT s.gate, count(*), max((gate.value ->> 'most')::int)
FROM autotask_slot s
JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
CROSS JOIN LATERAL (SELECT t.flow -> 'gates' -> (s.place - 1) AS value) AS gate
GROUP BY s.gate HAVING count(*) > max((gate.value ->> 'most')::int)
"""

#: Tasks whose state contradicts the number of gates that they have passed. A follower is claimed before its last one, and one that
#: should be cancelled is ready as soon as it is due, for a worker to record that.
CONTRADICTIONS = """
SELECT t.id::text, t.state, t.passed, t.gate FROM autotask_live t
WHERE t.flow IS NOT NULL AND jsonb_array_length(t.flow -> 'gates') > 0 AND (
    (t.state = 1 AND t.passed <> jsonb_array_length(t.flow -> 'gates') AND NOT t.cancel_requested AND t.executor <> 'remote')
    OR (t.state = 2 AND NOT t.cancel_requested AND jsonb_array_length(t.flow -> 'gates') - t.passed NOT IN (0, 1))
    OR (t.state = 8 AND t.gate NOT LIKE 'pause:%%'
        AND (t.passed >= jsonb_array_length(t.flow -> 'gates') OR t.gate <> t.flow -> 'gates' -> t.passed ->> 'key')))
"""

#: Limits at which tasks wait although slots are free and nobody is asked to look. Whoever frees a slot or makes a task wait
#: leaves a mark in the same transaction, so there are none at any moment.
FORGOTTEN = """
SELECT t.gate, count(*) FROM autotask_live t
WHERE t.state = 8 AND t.gate LIKE 'limit:%%' AND NOT EXISTS (SELECT 1 FROM autotask_mark m WHERE m.gate = t.gate)
  AND NOT EXISTS (SELECT 1 FROM autotask_pause p WHERE p.kind = 'limit' AND t.gate LIKE 'limit:' || p.name || '%%')
GROUP BY t.gate
HAVING max((t.flow -> 'gates' -> t.passed ->> 'most')::int)
    > (SELECT count(*) FROM autotask_slot s JOIN autotask_task h ON h.id = s.task_id AND h.passed >= s.place
       WHERE s.gate = t.gate)
"""

#: Rates at which tasks wait although nobody will look: there is always a mark, for now or for when there are tokens.
UNMARKED = """
SELECT t.gate, count(*) FROM autotask_live t
WHERE t.state = 8 AND t.gate LIKE 'rate:%%' AND NOT EXISTS (SELECT 1 FROM autotask_mark m WHERE m.gate = t.gate)
  AND NOT EXISTS (SELECT 1 FROM autotask_pause p WHERE p.kind = 'limit' AND t.gate LIKE 'rate:' || p.name || '%%')
GROUP BY t.gate
"""

#: Tasks that are READY or HELD by their rows and not in just one place, the table of these or a claim; and places without their task.
MISPLACED = """
SELECT t.id::text FROM autotask_task t
WHERE t.state <> 0 AND (SELECT count(*) FROM autotask_ready r WHERE r.id = t.id)
                     + (SELECT count(*) FROM autotask_held h WHERE h.id = t.id)
                     + (SELECT count(*) FROM autotask_running r WHERE r.id = t.id) <> 1
UNION ALL
SELECT r.id::text FROM autotask_ready r
WHERE NOT EXISTS (SELECT FROM autotask_task t WHERE t.id = r.id AND t.state = 1 AND t.ready_at = r.ready_at
                  AND (t.queue, t.priority, t.executor) = (r.queue, r.priority, r.executor))
UNION ALL
SELECT h.id::text FROM autotask_held h
WHERE NOT EXISTS (SELECT FROM autotask_task t WHERE t.id = h.id AND t.state = 8 AND t.gate = h.gate AND t.priority = -h.rank
                  AND (t.run_at, t.queue) = (h.run_at, h.queue) AND t.expires_at IS NOT DISTINCT FROM h.expires_at)
UNION ALL
SELECT r.id::text FROM autotask_running r JOIN autotask_task t ON t.id = r.id WHERE t.state = 0
"""

EVERYTHING = {
    "misplaced": MISPLACED,
    "without a slot": WITHOUT_SLOT,
    "overfull": OVERFULL,
    "contradictory": CONTRADICTIONS,
    "forgotten": FORGOTTEN,
    "unmarked": UNMARKED,
}


def problems(connection: BaseDatabaseWrapper) -> list[Any]:
    """Return what contradicts itself in the tables now."""
    return [(what, *row) for what, sql in EVERYTHING.items() for row in rows(connection, sql)]


#: These may be true for a moment, while somebody who has locked the task that would pass is not done with it.
MOMENTARY = ("forgotten", "unmarked")


def watch(world: World, seconds: float) -> None:
    """Look at the tables for some seconds, and tend the workers.

    :raises AssertionError: the tables contradict themselves, or do not come right within a second.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        world.tend()
        found = problems(world.database)
        patience = time.monotonic() + 1.0
        while found and all(problem[0] in MOMENTARY for problem in found) and time.monotonic() < patience:
            time.sleep(0.05)
            now = problems(world.database)
            found = [problem for problem in found if problem in now]
        assert not found, found
        time.sleep(0.05)


def marks(world: World) -> int:
    """Return how many marks there are."""
    return int(rows(world.database, "SELECT count(*) FROM autotask_mark")[0][0])


def flows(world: World) -> dict[str, Flow]:
    """Return the flow control of all tasks, live or finished."""
    found = rows(world.database, "SELECT id::text, flow::text FROM autotask_record")
    return {id: Flow.load(flow) if flow else Flow() for id, flow in found}


def lost(world: World) -> dict[tuple[str, int], float]:
    """Return when claims were lost, by id and fence."""
    sql = "SELECT task_id::text, fence, extract(epoch FROM ended_at)::float8 FROM autotask_attempt WHERE state = 7"
    return {(id, fence): at for id, fence, at in rows(world.database, sql)}


def kinds(world: World) -> Iterable[tuple[Any, ...]]:
    """Return how many live tasks are in which state at which gate, for messages."""
    return rows(
        world.database, "SELECT state, gate, passed, count(*) FROM autotask_live GROUP BY 1, 2, 3 ORDER BY 4 DESC"
    )
