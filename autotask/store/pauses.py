"""Pauses: queues, tasks and limits that nobody works on until they are resumed, or until their time is over.

A pause whose time is over counts as none for everybody at that moment; a worker deletes its row. Whoever resumes something
only sets its time to now. So all that has to follow is left to workers, and nothing is lost if one of them dies.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import marks, notify
from autotask.store.connection import in_utc, rows, text


class Kind(enum.StrEnum):
    """The kinds of things that can be paused."""

    QUEUE = "queue"
    TASK = "task"
    LIMIT = "limit"
    EVERYTHING = "everything"


#: How the gate begins at which the tasks of a paused name are held.
GATE = "pause:"

#: The most tasks that one statement moves, so that it holds its locks for milliseconds.
PIECE = 500

#: The condition that a pause is in force.
IN_FORCE = "({0}.until IS NULL OR {0}.until > statement_timestamp())"


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause.

    :ivar name: of the queue, task or limit; "" for everything.
    :ivar until: None: until somebody resumes it.
    """

    kind: Kind
    name: str
    paused_at: datetime
    paused_by: str
    until: datetime | None
    reason: str


_PAUSE = "p.kind, p.name, p.paused_at AT TIME ZONE 'UTC', p.paused_by, p.until AT TIME ZONE 'UTC', p.reason"

READ = f"SELECT {_PAUSE} FROM autotask_pause p WHERE {IN_FORCE.format('p')} ORDER BY p.kind, p.name"

# A pause that goes on keeps the moment at which it began.
PAUSE = f"""
INSERT INTO autotask_pause AS p (kind, name, paused_at, paused_by, until, reason)
VALUES (%(kind)s, %(name)s, clock_timestamp(), %(by)s, %(until)s, %(reason)s)
ON CONFLICT (kind, name) DO UPDATE
SET paused_at = CASE WHEN {IN_FORCE.format("p")} THEN p.paused_at ELSE excluded.paused_at END,
    paused_by = excluded.paused_by, until = excluded.until, reason = excluded.reason
RETURNING p.id
"""

PAUSED_SCHEDULES = """
SELECT name, paused_at AT TIME ZONE 'UTC', paused_by FROM autotask_schedule WHERE paused_at IS NOT NULL ORDER BY name
"""

RESUME = f"""
UPDATE autotask_pause p SET until = clock_timestamp()
WHERE p.kind = %(kind)s AND p.name = %(name)s AND {IN_FORCE.format("p")} RETURNING p.id
"""


def read(connection: BaseDatabaseWrapper) -> list[Pause]:
    """Return the pauses that are in force, by kind and name."""
    return [
        Pause(Kind(kind), name, in_utc(paused_at), by, in_utc(until), reason)
        for kind, name, paused_at, by, until, reason in rows(connection, READ)
    ]


def paused_schedules(connection: BaseDatabaseWrapper) -> dict[str, tuple[datetime, str]]:
    """Return since when and by whom schedules are paused, by name."""
    return {name: (in_utc(at), by) for name, at, by in rows(connection, PAUSED_SCHEDULES)}


def pause(
    connection: BaseDatabaseWrapper, kind: Kind, name: str, *, until: datetime | None, reason: str, by: str
) -> int:
    """Pause something; pausing it again replaces *until*, *reason* and *by*. Workers are notified after the commit.

    :returns: the key of the pause.
    """
    params = {"kind": kind.value, "name": name, "until": until, "reason": text(reason, 1000), "by": text(by, 200)}
    ((id,),) = rows(connection, PAUSE, params)
    _tell(connection)
    return int(id)


def resume(connection: BaseDatabaseWrapper, kind: Kind, name: str) -> int | None:
    """Resume something. Workers are notified after the commit.

    :returns: the key of the pause; None: there was none.
    """
    resumed = rows(connection, RESUME, {"kind": kind.value, "name": name})
    if not resumed:
        return None
    _tell(connection)
    return int(resumed[0][0])


def _tell(connection: BaseDatabaseWrapper) -> None:
    # The loop of a worker listens on one channel, its services on the other.
    notify.tell_after_commit(connection, {notify.WORK_CHANNEL: "", notify.SCHEDULES_CHANNEL: ""})


def bars_gate(gate: str) -> str:
    """Return the SQL condition that a pause bars a gate: that of a limit or a rate, or of one of its keys.

    Use it in the statement that takes the mark of the gate, or in a later one. In an earlier one, the pause could end in
    between, and with it the mark that its end has made.

    :param gate: an expression for the name of the gate.
    """
    return f"""EXISTS (
    SELECT 1 FROM autotask_pause barring
    WHERE barring.kind = 'limit' AND {IN_FORCE.format("barring")} AND {_concerns("barring.name", gate)}
)"""


def _concerns(name: str, gate: str) -> str:
    """Return the SQL condition that the name of a limit, with or without a key, fits a gate."""
    whole = f"substr({gate}, strpos({gate}, ':') + 1)"
    return f"{name} IN ({whole}, split_part({whole}, '(', 1))"


#: The condition that a pause bars a task, whatever its state is: by its name, its queue, one of its gates, or altogether.
BARS_TASK = f"""EXISTS (
    SELECT 1 FROM autotask_pause p
    WHERE {IN_FORCE.format("p")} AND CASE p.kind
        WHEN 'everything' THEN true
        WHEN 'queue' THEN p.name = t.queue
        WHEN 'task' THEN p.name = t.name
        ELSE EXISTS (
            SELECT 1 FROM jsonb_array_elements(t.flow->'gates') AS gate WHERE {_concerns("p.name", "(gate.value->>'key')")}
        )
    END
)"""

# --- the chores of workers ------------------------------------------------------------------------------------------

# The gates at which tasks of paused names are held, with one descent of autotask_held for each. No gate of another kind
# lies between the bounds, whatever the collation makes of the colon.
LOOK = f"""
WITH RECURSIVE held(gate) AS (
    (SELECT t.gate FROM autotask_task t
     WHERE t.state = 8 AND t.gate > 'pause' AND t.gate < 'pausf' ORDER BY t.gate LIMIT 1)
    UNION ALL
    SELECT following.gate FROM held CROSS JOIN LATERAL (
        SELECT t.gate FROM autotask_task t
        WHERE t.state = 8 AND t.gate > held.gate AND t.gate < 'pausf' ORDER BY t.gate LIMIT 1
    ) AS following
)
SELECT p.kind, p.name, extract(epoch FROM p.until - clock_timestamp())::float8 FROM autotask_pause p
UNION ALL
SELECT NULL, substr(held.gate, {len(GATE) + 1}), NULL FROM held WHERE starts_with(held.gate, '{GATE}')
"""

# A limit is looked at once its pause is over. Not in the transaction of whoever resumes it: until its commit, workers would
# still take the pause for in force, and drop the marks of tasks that it does not see.
END = f"""
WITH over AS MATERIALIZED (
    SELECT p.id FROM autotask_pause p WHERE p.until <= statement_timestamp() FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM autotask_pause p WHERE p.id = ANY(ARRAY(SELECT id FROM over)) RETURNING p.kind, p.name
),
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT DISTINCT t.gate, clock_timestamp() FROM gone JOIN autotask_task t ON t.state = 8
    WHERE gone.kind = 'limit' AND {_concerns("gone.name", "t.gate")}
)
SELECT count(*) FROM gone
"""

# Walks through the ready tasks of a lane in the order of autotask_ready, however many belong to others. A paused one frees its
# slots, and a mark asks for a look at each of its limits. One that is to be cancelled stays, for a worker to record that.
HOLD = f"""
WITH examined AS MATERIALIZED (
    SELECT t.id, t.name, t.ready_at FROM autotask_task t
    WHERE t.state = 1 AND t.queue = %(queue)s::text AND t.priority = %(priority)s::smallint
      AND t.executor = %(executor)s::text AND t.ready_at > %(after)s::timestamptz
    ORDER BY t.ready_at LIMIT {PIECE}
),
picked AS MATERIALIZED (
    SELECT t.id, t.flow FROM autotask_task t
    WHERE t.id = ANY(ARRAY(
        SELECT e.id FROM examined e JOIN autotask_pause p ON p.kind = 'task' AND p.name = e.name WHERE {IN_FORCE.format("p")}
    )) AND t.state = 1 AND NOT t.cancel_requested
    ORDER BY t.id FOR NO KEY UPDATE SKIP LOCKED
),
moved AS (
    UPDATE autotask_task t SET state = 8, gate = '{GATE}' || t.name, ready_at = NULL, passed = 0 * t.passed
    WHERE t.id = ANY(ARRAY(SELECT id FROM picked)) RETURNING t.id
),
marked AS ({marks.freed("picked")})
SELECT max(e.ready_at)::text, (SELECT count(*) FROM moved) FROM examined e
"""

# In the order in which they would have run; ready a microsecond apart, as in a bulk. A task with gates begins at the first.
# By an array of ids and their places in it, as a join could be planned to read the rows again for each of them.
LET_GO = f"""
WITH picked AS MATERIALIZED (
    SELECT t.id FROM autotask_task t WHERE t.state = 8 AND t.gate = %(gate)s::text
      AND NOT EXISTS (
          SELECT 1 FROM autotask_pause p WHERE p.kind = 'task' AND p.name = %(name)s::text AND {IN_FORCE.format("p")}
      )
    ORDER BY t.priority DESC, t.run_at, t.id LIMIT {PIECE} FOR NO KEY UPDATE SKIP LOCKED
),
clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
moved AS (
    UPDATE autotask_task t
    SET gate = {marks.FIRST_GATE}, state = {marks.DUE_STATE},
        ready_at = CASE WHEN {marks.PASSES}
                        THEN (SELECT now FROM clock) + array_position(ARRAY(SELECT id FROM picked), t.id) * interval '1 us' END
    WHERE t.id = ANY(ARRAY(SELECT id FROM picked))
    RETURNING t.state, t.gate
),
marked AS ({marks.waiting("moved")})
SELECT count(*) FROM moved
"""


class Look(NamedTuple):
    """What a worker has to do about pauses.

    :ivar exists: whether there is a pause at all, or a task that one holds.
    :ivar is_over: whether the time of one is over.
    :ivar holds: whether tasks are paused by name.
    :ivar released: the names whose tasks are held without a pause.
    :ivar seconds: until the time of the next one is over; None: all others wait for somebody to resume them.
    """

    exists: bool
    is_over: bool
    holds: bool
    released: Sequence[str]
    seconds: float | None


def look(connection: BaseDatabaseWrapper) -> Look:
    """Look at the pauses and at the tasks that they hold."""
    found = rows(connection, LOOK)
    left = [(kind, name, seconds) for kind, name, seconds in found if kind is not None]
    in_force = [(kind, name, seconds) for kind, name, seconds in left if seconds is None or seconds > 0]
    names = {name for kind, name, _ in in_force if kind == Kind.TASK}
    return Look(
        exists=bool(found),
        is_over=len(in_force) < len(left),
        holds=bool(names),
        released=[name for kind, name, _ in found if kind is None and name not in names],
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
    :returns: the moment after which to go on, None at the end of the lane; and how many are held.
    """
    params = {"queue": queue, "priority": priority, "executor": executor, "after": after}
    ((last, held),) = rows(connection, HOLD, params)
    return last, int(held)


def let_go(connection: BaseDatabaseWrapper, name: str) -> int:
    """Make up to :data:`PIECE` held tasks of a name ready, or have them wait at their first gate; return how many.

    Does nothing while the name is paused.
    """
    return int(rows(connection, LET_GO, {"gate": GATE + name, "name": name})[0][0])
