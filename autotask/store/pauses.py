"""Pauses: queues, tasks and limits that nobody works on until they are resumed, or until their time is over.

A pause whose time is over counts as none for everybody at that moment; a worker deletes its row. Resuming something only
sets its time to now. So all that has to follow is left to workers, and nothing is lost if one of them dies.
"""

import enum
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import background, notify
from autotask.store.connection import in_utc, rows, text


class Kind(enum.StrEnum):
    """The kinds of things that can be paused."""

    QUEUE = "queue"
    TASK = "task"
    LIMIT = "limit"
    EVERYTHING = "everything"


#: The prefixes of the gates at which the tasks of paused names and queues are held. No name contains a space.
GATE = "pause:"
QUEUE_GATE = f"{GATE}queue "

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

# A pause that continues keeps the moment at which it began.
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
    background.tell(connection)
    return int(resumed[0][0])


def _tell(connection: BaseDatabaseWrapper) -> None:
    # The loop of a worker listens on one channel, its services on the other.
    notify.tell_after_commit(connection, {notify.WORK_CHANNEL: "", notify.SCHEDULES_CHANNEL: ""})


def gate_of(kind: Kind, name: str) -> str:
    """Return the gate at which the tasks of a paused name or queue are held."""
    return f"{QUEUE_GATE if kind is Kind.QUEUE else GATE}{name}"


def of_gate(gate: str) -> tuple[Kind, str] | None:
    """Return the paused name or queue of a gate; None: the gate is that of a limit or rate."""
    if gate.startswith(QUEUE_GATE):
        return Kind.QUEUE, gate.removeprefix(QUEUE_GATE)
    return (Kind.TASK, gate.removeprefix(GATE)) if gate.startswith(GATE) else None


def bars_gate(gate: str) -> str:
    """Return the SQL condition that a pause bars a gate: that of a limit or a rate, or of one of its keys.

    Use it in the statement that takes the mark of the gate, or in a later one. In an earlier one, the pause could end in
    between, and with it the mark that its end has made.

    :param gate: an expression for the name of the gate.
    """
    return f"""EXISTS (
    SELECT 1 FROM autotask_pause barring
    WHERE barring.kind = 'limit' AND {IN_FORCE.format("barring")} AND {concerns("barring.name", gate)}
)"""


def concerns(name: str, gate: str) -> str:
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
            SELECT 1 FROM jsonb_array_elements(t.flow->'gates') AS gate WHERE {concerns("p.name", "(gate.value->>'key')")}
        )
    END
)"""

#: A CTE with the names of paused tasks and queues.
STOPPED = f"""
stopped AS MATERIALIZED (
    SELECT coalesce(array_agg(p.name) FILTER (WHERE p.kind = 'task'), ARRAY[]::text[]) AS names,
           coalesce(array_agg(p.name) FILTER (WHERE p.kind = 'queue'), ARRAY[]::text[]) AS queues
    FROM autotask_pause p WHERE p.kind IN ('task', 'queue') AND {IN_FORCE.format("p")}
)"""

#: The gate at which a task *t* that has gates is held, from :data:`STOPPED`; NULL: neither its name nor its queue is paused.
STOPPED_AT = f"""CASE WHEN t.name = ANY(stopped.names) THEN '{GATE}' || t.name
    WHEN t.queue = ANY(stopped.queues) THEN '{QUEUE_GATE}' || t.queue END"""
