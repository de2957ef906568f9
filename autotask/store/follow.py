"""Claim held tasks ahead of their slots: the followers, which wait in a worker until a task there leaves them its slot."""

import uuid
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claim, claims, columns, held, pauses
from autotask.store.prepared import prepared_rows
from autotask.task import ClaimedTask

#: The most followers at a time, in as many claims as they need.
MOST = 2 * claims.MOST


class Wanted(NamedTuple):
    """Followers to claim.

    :ivar gate: of a limit.
    :ivar number: how many.
    :ivar most: the number of slots that the tasks of this gate know; workers use the current one if they know the limit.
    :ivar flow: that of a task that has a slot, if known: nearly all followers have the same, and it is not read again.
    """

    gate: str
    number: int
    most: int
    flow: str | None = None


# The fields of a claimed task. The row of a follower does not say since when it is ready; its flow is that of its gate if it is not
# read.
_FIELDS = claim.FIELDS.replace("t.ready_at", "at").rpartition(", ")[0]

# Whether it may follow. Its own row is only read for its name, if any name is paused.
_MAY = """, h.follows AND h.queue = ANY(%(queues)s::text[]) AND h.queue <> ALL((SELECT queues FROM stopped)::text[])
                AND CASE WHEN (SELECT cardinality(names) FROM stopped) > 0
                    THEN (SELECT t.name <> ALL(stopped.names) FROM autotask_task t, stopped WHERE t.id = h.id) ELSE true END AS may"""

# * The worker has slots of these gates, and the followers get these one after the other. They have not passed their gate.
# * They are taken in the order of the gate, up to the first one that may not follow, so that nobody is overtaken: it has
#   other gates, another queue or pool, large arguments, or may have killed its worker.
# * An array for each gate, not rows: to number and sort rows takes longer than to find them. An aggregate takes the rows of a
#   subquery in their order.
# * Nobody follows at a gate that is paused, or while slots above its current number are taken.
# * Their claim names them in that order. All of their rows in the held table are locked, so all of them are deleted. As in a claim,
#   the rows of the tasks are not written, except for a few.
FOLLOW = f"""
WITH {claim.ALIVE},
{pauses.STOPPED},
wanted AS MATERIALIZED (
    SELECT w.gate, w.number, w.place
    FROM ROWS FROM (unnest(%(gates)s::text[], %(numbers)s::int[], %(mosts)s::int[])) WITH ORDINALITY AS w(gate, number, most, place)
    LEFT JOIN unnest(%(bases)s::text[], %(most)s::int[]) AS present(base, most)
        ON present.base = split_part(substr(w.gate, 7), '(', 1)
    WHERE EXISTS (SELECT 1 FROM alive) AND NOT {pauses.bars_gate("w.gate")}
      AND NOT EXISTS (SELECT FROM autotask_pause p WHERE p.kind = 'everything' AND {pauses.IN_FORCE.format("p")})
      AND NOT EXISTS (
          SELECT FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
          WHERE s.gate = w.gate AND s.number > coalesce(present.most, w.most)
      )
),
line AS MATERIALIZED (
    SELECT wanted.place, next.ids[:next.most] AS ids, next.addresses[:next.most] AS addresses
    FROM wanted CROSS JOIN LATERAL (
        SELECT array_agg(first.id) AS ids, array_agg(first.address) AS addresses,
               coalesce(array_position(array_agg(first.may), false) - 1, {MOST}) AS most
        FROM (
            {held.first("wanted.gate", "wanted.number", _MAY)}
        ) AS first
    ) AS next
),
chosen AS MATERIALIZED (
    SELECT (array_agg(u.id ORDER BY line.place, u.turn))[:{MOST}] AS ids,
           (array_agg(u.address ORDER BY line.place, u.turn))[:{MOST}] AS addresses
    FROM line CROSS JOIN LATERAL unnest(line.ids, line.addresses) WITH ORDINALITY AS u(id, address, turn)
),
following AS MATERIALIZED (
    SELECT chosen.ids[part * {claims.MOST} + 1:(part + 1) * {claims.MOST}] AS ids
    FROM chosen CROSS JOIN generate_series(0, (cardinality(chosen.ids) - 1) / {claims.MOST}) AS part
),
gone AS (
    DELETE FROM autotask_held WHERE ctid = ANY((SELECT addresses FROM chosen)::tid[]) RETURNING id, resets
),
{claims.MADE.replace("array_agg(id) FROM gone HAVING count(*) > 0", "ids FROM following")},
reset AS (
    UPDATE autotask_task t SET unique_key = {columns.KEY_AGAIN}, progress_done = NULL, progress_total = NULL
    WHERE t.id = ANY(ARRAY(SELECT id FROM gone WHERE resets))
)
SELECT {_FIELDS}, NULLIF(t.flow, leader.flow)::text, t.gate
FROM made CROSS JOIN LATERAL unnest(made.ids) WITH ORDINALITY AS u(id, place) JOIN autotask_task t ON t.id = u.id
JOIN unnest(%(gates)s::text[], %(flows)s::jsonb[]) AS leader(gate, flow) USING (gate)
WHERE t.id = ANY((SELECT ids FROM chosen)::uuid[])
"""

#: In the row of a follower. Their fences are in the order of their gate; the server takes three times as long to sort them.
_FENCE = itemgetter(ClaimedTask._fields.index("fence"))


def follow(
    connection: BaseDatabaseWrapper,
    worker_id: uuid.UUID,
    wanted: Sequence[Wanted],
    *,
    queues: Sequence[str],
    slots: Mapping[str, int],
) -> dict[str, list[ClaimedTask]]:
    """Claim followers at gates of which the worker has slots; return them by gate, best first.

    :param queues: those from which it may take them.
    :param slots: the current number of slots of each limit, by its base.
    """
    params = {
        "worker_id": worker_id,
        "gates": arrays.texts([each.gate for each in wanted]),
        "numbers": arrays.numbers([each.number for each in wanted]),
        "mosts": arrays.numbers([each.most for each in wanted]),
        "flows": arrays.texts([each.flow for each in wanted]),
        "bases": arrays.texts(slots),
        "most": arrays.numbers(slots.values()),
        "queues": arrays.texts(queues),
    }
    found: dict[str, list[ClaimedTask]] = {each.gate: [] for each in wanted}
    flows = {each.gate: each.flow for each in wanted}
    for row in sorted(prepared_rows(connection, FOLLOW, params), key=_FENCE):
        gate = row[-1]
        found[gate].append(claim.record((*row[:-2], row[-2] or flows[gate]), worker_id))
    return found
