"""Hold the tasks of paused names, and those of paused queues that have slots; let them go when that is over."""

from collections.abc import Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import held, marks, pauses, ready
from autotask.store.connection import rows
from autotask.store.pauses import GATE, IN_FORCE, STOPPED, STOPPED_AT, Kind

#: The most tasks that one statement moves, so that it holds its locks for milliseconds.
PIECE = 500

#: A slot: its gate and its number.
Slot = tuple[str, int]

#: Before the first slot.
FIRST: Slot = ("", 0)

# The gates at which tasks of paused names and queues are held, with one descent of autotask_held for each. No gate of another kind
# lies between the bounds, whatever the collation makes of the colon.
LOOK = f"""
WITH RECURSIVE held(gate) AS (
    (SELECT h.gate FROM autotask_held h WHERE h.gate > 'pause' AND h.gate < 'pausf' ORDER BY h.gate LIMIT 1)
    UNION ALL
    SELECT following.gate FROM held CROSS JOIN LATERAL (
        SELECT h.gate FROM autotask_held h WHERE h.gate > held.gate AND h.gate < 'pausf' ORDER BY h.gate LIMIT 1
    ) AS following
)
SELECT p.kind, p.name, extract(epoch FROM p.until - clock_timestamp())::float8 FROM autotask_pause p
UNION ALL
SELECT NULL, held.gate, NULL FROM held WHERE starts_with(held.gate, '{GATE}')
"""

# A limit is looked at once its pause is over. Not in the transaction that resumes it: until its commit, workers would
# still take the pause for in force, and drop the marks of tasks that it does not see. Its gates are found as above.
END = f"""
WITH RECURSIVE over AS MATERIALIZED (
    SELECT p.id FROM autotask_pause p WHERE p.until <= statement_timestamp() FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM autotask_pause p WHERE p.id = ANY(ARRAY(SELECT id FROM over)) RETURNING p.kind, p.name
),
held(gate) AS (
    (SELECT h.gate FROM autotask_held h
     WHERE EXISTS (SELECT FROM gone WHERE gone.kind = 'limit') ORDER BY h.gate LIMIT 1)
    UNION ALL
    SELECT following.gate FROM held CROSS JOIN LATERAL (
        SELECT h.gate FROM autotask_held h WHERE h.gate > held.gate ORDER BY h.gate LIMIT 1
    ) AS following
),
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT held.gate, clock_timestamp() FROM held
    WHERE EXISTS (SELECT FROM gone WHERE gone.kind = 'limit' AND {pauses.concerns("gone.name", "held.gate")})
)
SELECT count(*) FROM gone
"""

# Walks through the ready tasks of a lane in the order of the ready table, however many belong to others. A paused one frees its
# slots, and a mark asks for a look at each of its limits. One that should be cancelled stays, for a worker to record that.
HOLD = f"""
WITH examined AS MATERIALIZED (
    SELECT r.ctid AS address, r.id, r.ready_at FROM autotask_ready r
    WHERE r.queue = %(queue)s::text AND r.priority = %(priority)s::smallint
      AND r.executor = %(executor)s::text AND r.ready_at > %(after)s::timestamptz
    ORDER BY r.ready_at LIMIT {PIECE}
),
stopped AS MATERIALIZED (
    SELECT t.id FROM autotask_task t
    WHERE t.id = ANY(ARRAY(SELECT id FROM examined)) AND NOT t.cancel_requested
      AND t.name = ANY(ARRAY(SELECT p.name FROM autotask_pause p WHERE p.kind = 'task' AND {IN_FORCE.format("p")}))
),
picked AS MATERIALIZED (
    SELECT ctid AS address FROM autotask_ready
    WHERE ctid = ANY(ARRAY(SELECT e.address FROM examined e JOIN stopped USING (id)))
    FOR UPDATE SKIP LOCKED
),
taken AS (
    DELETE FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM picked)) RETURNING id
),
moved AS (
    UPDATE autotask_task t SET state = 8, gate = '{GATE}' || t.name, ready_at = NULL, passed = 0 * t.passed
    WHERE t.id = ANY(ARRAY(SELECT id FROM taken)) RETURNING {held.RETURNING}, t.flow
),
held AS ({held.come("moved")}),
marked AS ({marks.freed("moved")})
SELECT max(e.ready_at)::text, (SELECT count(*) FROM moved) FROM examined e
"""

# The tasks that have slots and have not begun are found by these, however many others are ready. Those that wait at a later
# gate have slots, too. Most tasks of a paused queue have none, and stay as they are.
HOLD_SLOTS = f"""
WITH {STOPPED},
examined AS MATERIALIZED (
    SELECT s.gate, s.number, s.task_id FROM autotask_slot s
    WHERE (s.gate, s.number) > (%(gate)s::text, %(number)s::int) ORDER BY s.gate, s.number LIMIT {PIECE}
),
picked AS MATERIALIZED (
    SELECT t.id, t.state, t.queue, t.priority, t.executor, t.ready_at, t.gate, t.run_at FROM autotask_task t CROSS JOIN stopped
    WHERE t.id = ANY(ARRAY(SELECT e.task_id FROM examined e))
      AND CASE WHEN t.cancel_requested OR t.passed = 0 THEN false
               ELSE t.state IN (1, 8) AND (t.name = ANY(stopped.names) OR t.queue = ANY(stopped.queues)) END
    ORDER BY t.id FOR NO KEY UPDATE OF t SKIP LOCKED
),
{ready.still_ready("picked")},
still_held AS MATERIALIZED (
    SELECT h.ctid AS address, h.id FROM picked t JOIN autotask_held h ON {held.IS_OF} WHERE t.state = 8
    FOR UPDATE OF h SKIP LOCKED
),
taken AS (DELETE FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM still_ready))),
let_go AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM still_held))),
moved AS (
    UPDATE autotask_task t SET state = 8, gate = {STOPPED_AT}, ready_at = NULL, passed = 0
    FROM stopped
    WHERE t.id = ANY(ARRAY(SELECT id FROM still_held UNION ALL SELECT id FROM still_ready)) RETURNING {held.RETURNING}, t.flow
),
held AS ({held.come("moved")}),
marked AS ({marks.freed("moved")})
SELECT e.gate, e.number, (SELECT count(*) FROM moved) FROM examined e ORDER BY e.gate DESC, e.number DESC LIMIT 1
"""

# The first tasks in the queue of a limit, as far as they are paused. Admission moves them one by one, a free slot each; where
# there is one, many may follow, and keep others waiting.
DIVERT = f"""
WITH {STOPPED},
picked AS MATERIALIZED (
    {held.locked("h.gate = %(gate)s::text", str(PIECE))}
),
line AS MATERIALIZED (
    SELECT t.id FROM autotask_task t, stopped WHERE t.id = ANY(ARRAY(SELECT id FROM picked)) AND {STOPPED_AT} IS NOT NULL
),
taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM picked JOIN line USING (id)))),
moved AS (
    UPDATE autotask_task t SET gate = {STOPPED_AT}, passed = 0
    FROM stopped WHERE t.id = ANY(ARRAY(SELECT id FROM line)) RETURNING {held.RETURNING}, t.flow
),
held AS ({held.come("moved")}),
marked AS ({marks.freed("moved")})
SELECT count(*) FROM moved
"""

_IS_PAUSED = f"""EXISTS (
        SELECT 1 FROM autotask_pause p WHERE p.kind = %(kind)s::text AND p.name = %(name)s::text AND {IN_FORCE.format("p")}
    )"""

# In the order in which they would have run; ready a microsecond apart, as in a bulk. A task with gates begins at the first.
# By an array of ids and their places in it, as a join could be planned to read the rows again for each of them.
LET_GO = f"""
WITH picked AS MATERIALIZED (
    {held.locked(f"h.gate = %(gate)s::text AND NOT {_IS_PAUSED}", str(PIECE))}
),
taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM picked))),
clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
moved AS (
    UPDATE autotask_task t
    SET gate = {marks.FIRST_GATE}, state = {marks.DUE_STATE},
        ready_at = CASE WHEN {marks.PASSES}
                        THEN (SELECT now FROM clock) + array_position(ARRAY(SELECT id FROM picked), t.id) * interval '1 us' END
    WHERE t.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING {held.RETURNING}
),
come AS ({ready.come("moved")}),
{held.waiting("moved")}
SELECT count(*) FROM moved
"""


class Look(NamedTuple):
    """The work that pauses leave for a worker.

    :ivar exists: whether there is a pause at all, or a task that one holds.
    :ivar is_over: whether the time of one is over.
    :ivar holds_slots: whether names or queues are paused, whose tasks have to give up their slots.
    :ivar holds: whether tasks are paused by name, and have to be held whatever their gates are.
    :ivar released: the gates at which tasks are held without a pause.
    :ivar seconds: until the time of the next one is over; None: all others wait for somebody to resume them.
    """

    exists: bool
    is_over: bool
    holds_slots: bool
    holds: bool
    released: Sequence[str]
    seconds: float | None


def look(connection: BaseDatabaseWrapper) -> Look:
    """Look at the pauses and at the tasks that they hold."""
    found = rows(connection, LOOK)
    left = [(kind, name, seconds) for kind, name, seconds in found if kind is not None]
    in_force = [(kind, name, seconds) for kind, name, seconds in left if seconds is None or seconds > 0]
    kinds = {kind for kind, *_ in in_force}
    closed = {pauses.gate_of(Kind(kind), name) for kind, name, _ in in_force if kind in (Kind.TASK, Kind.QUEUE)}
    return Look(
        exists=bool(found),
        is_over=len(in_force) < len(left),
        holds_slots=not kinds.isdisjoint((Kind.TASK, Kind.QUEUE)),
        holds=Kind.TASK in kinds,
        released=[gate for kind, gate, _ in found if kind is None and gate not in closed],
        seconds=min((seconds for *_, seconds in in_force if seconds is not None), default=None),
    )


def end(connection: BaseDatabaseWrapper) -> int:
    """Delete the pauses whose time is over, and have the gates of their limits looked at; return how many."""
    return int(rows(connection, END)[0][0])


def hold(
    connection: BaseDatabaseWrapper, queue: str, priority: int, executor: str, after: str = "-infinity"
) -> tuple[str | None, int]:
    """Hold those of the next :data:`PIECE` ready tasks of a lane whose names are paused.

    :param after: only tasks that are ready since a later moment: as text, to the microsecond.
    :returns: the moment after which to continue, None at the end of the lane; and how many are held.
    """
    params = {"queue": queue, "priority": priority, "executor": executor, "after": after}
    ((last, moved),) = rows(connection, HOLD, params)
    return last, int(moved)


def hold_slots(connection: BaseDatabaseWrapper, after: Slot = FIRST) -> tuple[Slot | None, int]:
    """Hold the tasks of paused names and queues that have one of the next :data:`PIECE` slots, and have not begun.

    :param after: the slot after which to look.
    :returns: the slot after which to continue, None after the last one; and how many are held.
    """
    found = rows(connection, HOLD_SLOTS, {"gate": after[0], "number": after[1]})
    return ((found[0][0], found[0][1]), int(found[0][2])) if found else (None, 0)


def divert(connection: BaseDatabaseWrapper, gate: str) -> int:
    """Hold the first tasks that wait at a limit for the end of a pause instead, if their names or queues are paused.

    :returns: how many were moved, of the first :data:`PIECE`.
    """
    return int(rows(connection, DIVERT, {"gate": gate})[0][0])


def let_go(connection: BaseDatabaseWrapper, gate: str) -> int:
    """Make up to :data:`PIECE` tasks that are held at the gate of a pause ready, or have them wait at their first gate.

    Does nothing while there is such a pause.

    :returns: how many were moved.
    """
    paused = pauses.of_gate(gate)
    assert paused is not None, gate
    return int(rows(connection, LET_GO, {"gate": gate, "kind": paused[0].value, "name": paused[1]})[0][0])
