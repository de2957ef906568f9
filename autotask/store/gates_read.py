"""Read gates for users: the tasks that wait there, the tasks that have the slots, and when tokens come."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.flow import Flow, Gate
from autotask.store import held
from autotask.store.connection import in_utc, rows
from autotask.task import State

#: The tasks that wait at one gate are counted up to this number; one more means that there are more.
COUNTED = 10_000

#: The most holders of slots that are returned.
MOST_HOLDERS = 20

#: The busiest gates are looked for among this many, and their tasks are counted up to a number: so it takes no longer than a
#: moment, however many keys there are.
LOOKED_AT, COMPARED = 500, 1000


@dataclass(frozen=True, slots=True)
class SeenGate:
    """A gate at a moment.

    :ivar key: its name.
    :ivar at: the moment, by the clock of the database.
    :ivar waiting: how many tasks wait there, counted up to ``COUNTED`` + 1.
    :ivar taken: how many of its slots are taken.
    :ivar full_at: when its bucket is full again; None: no token was ever drawn.
    :ivar closed_until: the end of the time for which a task has closed its bucket.
    :ivar terms: what the first task that waits says about it, or else one that has a slot; None: there is none, or it is that
        of a pause.
    """

    key: str
    at: datetime
    waiting: int
    taken: int
    full_at: datetime | None
    closed_until: datetime | None
    terms: Gate | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A task that has a slot of a gate.

    :ivar gate: the later gate at which it waits, if it is HELD.
    :ivar seconds: for how long it has run, if it is RUNNING.
    """

    id: uuid.UUID
    name: str
    state: State
    gate: str | None
    seconds: float | None


#: Reads the gates of a table *gates* with a column *gate*.
# The count ends at its limit: a million tasks may wait at one gate. The first task is that which will pass next.
SEEN_GATES = f"""
SELECT g.gate, statement_timestamp() AT TIME ZONE 'UTC',
       (SELECT count(*) FROM (
           SELECT FROM autotask_held h WHERE h.gate = g.gate LIMIT {COUNTED + 1}
       ) AS first),
       (SELECT count(*) FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id
        WHERE s.gate = g.gate AND t.passed >= s.place),
       b.full_at AT TIME ZONE 'UTC', b.closed_until AT TIME ZONE 'UTC',
       coalesce(
           (SELECT (SELECT t.flow::text FROM autotask_task t WHERE t.id = h.id) FROM autotask_held h WHERE h.gate = g.gate
            ORDER BY {held.ORDER} LIMIT 1),
           (SELECT t.flow::text FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id
            WHERE s.gate = g.gate AND t.passed >= s.place LIMIT 1)
       )
FROM {{gates}} AS g
LEFT JOIN autotask_bucket b ON b.gate = g.gate
"""

SEEN = SEEN_GATES.format(gates="(SELECT %(gate)s::text AS gate)")

# A loose index scan: from each gate to the next one in the index of held tasks, past the tasks in between. If there are too
# many gates, the statistics of the table still know those at which most tasks wait.
BUSIEST = f"""
WITH RECURSIVE found AS (
    (SELECT gate, 1 AS number FROM autotask_held ORDER BY gate LIMIT 1)
    UNION ALL
    SELECT following.gate, found.number + 1
    FROM found
    CROSS JOIN LATERAL (
        SELECT h.gate FROM autotask_held h WHERE h.gate > found.gate ORDER BY h.gate LIMIT 1
    ) AS following
    WHERE found.number < {LOOKED_AT}
),
known AS (
    SELECT gate FROM found
    UNION
    SELECT unnest(stats.most_common_vals::text::text[])
    FROM pg_stats stats
    JOIN pg_class ON pg_class.oid = 'autotask_held'::regclass
    JOIN pg_namespace ON pg_namespace.oid = pg_class.relnamespace
    WHERE stats.schemaname = pg_namespace.nspname AND stats.tablename = pg_class.relname AND stats.attname = 'gate'
),
compared AS (
    SELECT gate, (SELECT count(*) FROM (
        SELECT FROM autotask_held h WHERE h.gate = known.gate LIMIT {COMPARED}
    ) AS first) AS waiting
    FROM known
    ORDER BY waiting DESC, gate
    LIMIT %(limit)s
)
{SEEN_GATES.format(gates="compared")}
WHERE g.waiting > 0
ORDER BY 3 DESC, 1
"""

# Limits at which nobody waits. All of those without a key are looked at, and some of the many that others can be.
TAKEN = f"""
WITH slot AS (
    SELECT s.gate FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
    WHERE strpos(s.gate, '(') = 0
    UNION ALL
    (SELECT s.gate FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
     WHERE strpos(s.gate, '(') > 0 LIMIT {LOOKED_AT})
),
busy AS (
    SELECT gate FROM slot
    WHERE NOT EXISTS (SELECT FROM autotask_held h WHERE h.gate = slot.gate)
    GROUP BY gate ORDER BY count(*) DESC, gate LIMIT %(limit)s
)
{SEEN_GATES.format(gates="busy")}
ORDER BY 4 DESC, 1
"""

HOLDERS_OF = """
SELECT t.id, t.name, t.state, t.gate,
       CASE WHEN t.state = 2 THEN extract(epoch FROM statement_timestamp() - t.started_at) END::float8 AS seconds
FROM autotask_slot s JOIN autotask_live t ON t.id = s.task_id
WHERE s.gate = {gate} AND t.passed >= s.place
ORDER BY seconds DESC NULLS LAST, s.number LIMIT {limit}
"""

HOLDERS = HOLDERS_OF.format(gate="%(gate)s", limit="%(limit)s")


def seen(connection: BaseDatabaseWrapper, key: str) -> SeenGate:
    """Return a gate as it is now."""
    return seen_gate(rows(connection, SEEN, {"gate": key})[0])


def busiest(connection: BaseDatabaseWrapper, limit: int = 20) -> list[SeenGate]:
    """Return the gates at which most tasks wait, most first; then limits with slots that are taken."""
    found = rows(connection, BUSIEST, {"limit": limit})
    if len(found) < limit:
        found += rows(connection, TAKEN, {"limit": limit - len(found)})
    return [seen_gate(row) for row in found]


def holders(connection: BaseDatabaseWrapper, key: str, limit: int = MOST_HOLDERS) -> list[Holder]:
    """Return the tasks that have the slots of a gate, longest running first."""
    found = rows(connection, HOLDERS, {"gate": key, "limit": limit})
    return [Holder(id, name, State(state), gate, seconds) for id, name, state, gate, seconds in found]


def seen_gate(row: Sequence[Any]) -> SeenGate:
    """Return the gate in a row of :data:`SEEN_GATES`."""
    key, at, waiting, taken, full_at, closed_until, flow = row
    gates = Flow.load(flow).gates if flow else ()
    terms = next((gate for gate in gates if gate.key == key), None)
    return SeenGate(key, in_utc(at), waiting, taken, in_utc(full_at), in_utc(closed_until), terms)
