"""Slots of limits: SQL that gives free ones to waiting tasks.

A slot is taken while the task that it names is live and has passed its gate. So ending, cancelling or rescheduling a task
frees its slots by itself, and nothing can leak. Two sessions never give the same slot away: each changes the row only if it
still has the version that was seen as free, or inserts it.
"""

from collections.abc import Mapping

from autotask.store import arrays, claims, held, pauses, ready

# The first tasks in the queues of gates, one for each free slot. A locked one is being cancelled or replaced: it is left out,
# and the transaction that has locked it leaves a mark, or the sweep finds it.
# Slots come as arrays, and not as rows, since the planner expects few rows everywhere here, and would compare each to each.
_FIRST = """
{name} AS MATERIALIZED (
    SELECT free.gate, first.id, first.address, first.turn, first.passed + 1 AS place,
           free.numbers[first.turn] AS number{more}
    FROM {free} AS free
    CROSS JOIN LATERAL (
        SELECT line.id, line.address, line.passed, row_number() OVER (ORDER BY line.rank, line.run_at, line.id) AS turn
        FROM (
            {line}
        ) AS line
    ) AS first
)"""

# A task moves on to its next gate, or is ready. Tasks are ready a microsecond apart, as in a bulk. One whose name or queue is
# paused does not keep others waiting: it goes to the gate of the pause, and gives up its slots.
_PASSING = """
through AS MATERIALIZED (SELECT array_agg(id ORDER BY gate, turn) AS ids, clock_timestamp() AS now FROM {through}),
gone AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM {through}))),
passing AS (
    UPDATE autotask_task t
    SET (passed, gate, state, ready_at) = (
        SELECT CASE WHEN way.pause IS NULL THEN t.passed + 1 ELSE 0 END, coalesce(way.pause, way.next, t.gate),
               CASE WHEN coalesce(way.pause, way.next) IS NULL THEN 1 ELSE 8 END,
               CASE WHEN coalesce(way.pause, way.next) IS NULL
                    THEN through.now + array_position(through.ids, t.id) * interval '1 us' END
        FROM (SELECT {stopped_at} AS pause, t.flow->'gates'->(t.passed + 1)->>'key' AS next OFFSET 0) AS way
    )
    FROM stopped, through
    WHERE t.id = ANY((SELECT ids FROM through)::uuid[])
    RETURNING {returning}, t.flow
),
come AS ({come}),
held AS ({held}),
next_gate AS (
    SELECT gate FROM held WHERE NOT starts_with(gate, '{pause}')
    UNION ALL
    SELECT gate.value->>'key' FROM passing CROSS JOIN LATERAL jsonb_array_elements(passing.flow->'gates') AS gate
    WHERE starts_with(passing.gate, '{pause}') AND gate.value ? 'most'
)"""


def parameters(present: Mapping[str, int]) -> dict[str, str]:
    """Return the parameters that name the current numbers of slots, by the bases of the limits."""
    return {"bases": arrays.texts(present), "most": arrays.numbers(present.values())}


def first(name: str, free: str, *, more: str = "") -> str:
    """Return a CTE with the tasks that come next: gate, id, place, number of the slot, and their turn from 1 at each gate.

    :param free: a table with the columns ``gate`` and ``numbers``, an array of the free slots.
    :param more: further columns.
    """
    line = held.locked("h.gate = free.gate", "cardinality(free.numbers)", more=", h.rank, h.run_at, t.passed")
    return _FIRST.format(name=name, free=free, more=more, line=line)


def passing(through: str) -> str:
    """Return the CTE ``passing``, which lets tasks pass their gates, and ``next_gate``: the gates to mark then.

    It needs the CTE ``pauses.STOPPED``.

    :param through: a table with the columns ``id``, ``gate``, ``turn`` and ``address``.
    """
    return _PASSING.format(
        through=through,
        stopped_at=pauses.STOPPED_AT,
        pause=pauses.GATE,
        returning=held.RETURNING,
        come=ready.come("passing"),
        held=held.come("passing"),
    )


#: The least number of free slots among the limits without a key that a task has to pass later; NULL: there are none.
FREE_LATER = f"""(
    SELECT min(CASE WHEN {pauses.bars_gate("later.gate->>'key'")} THEN 0 ELSE coalesce(present.most, (later.gate->>'most')::int) - (
        SELECT count(*) FROM autotask_slot s JOIN autotask_task holder ON holder.id = s.task_id AND holder.passed >= s.place
        WHERE s.gate = later.gate->>'key'
    ) END)
    FROM jsonb_array_elements(t.flow->'gates') WITH ORDINALITY AS later(gate, place)
    LEFT JOIN unnest(%(limits)s::text[], %(mosts)s::int[]) AS present(base, most)
        ON present.base = split_part(substr(later.gate->>'key', 7), '(', 1)
    WHERE later.place > t.passed + 1 AND later.gate ? 'most' AND strpos(later.gate->>'key', '(') = 0
)"""

# The slot of a task that ended goes to its heir, if that has begun in it meanwhile, or else to the next one. Nobody else
# changes its row: for them, it is taken until the commit.
# * The heir is a follower of the same worker. While its claim is in force it runs, so it gets the slot whatever has happened to
#   the limit; it is locked with waiting, since otherwise it would run without a slot.
# * If nobody waits, or all who wait are locked, a mark is left. So a task that comes at the same moment is not overlooked:
#   either its own mark or this one is seen by a worker that sees both the task and the free slot.
# * Slots above the current number are not given on.
# * One that still names the following task or the heir, which had it before a retry, is deleted: otherwise it would have both.
# * Tasks that had passed several gates only leave marks.
# * Followers that have ended before they had a slot have not passed their gate, and free nothing.
HAND_ON = f"""
{pauses.STOPPED},
own AS MATERIALIZED (
    SELECT e.gate, s.number, s.version, (e.flow->'gates'->0->>'most')::int AS most, e.heir, e.heir_fence
    FROM ended e JOIN autotask_slot s ON s.gate = e.gate AND s.task_id = e.id
    WHERE e.passed = 1
),
heir AS MATERIALIZED (
    SELECT t.id, own.gate, own.number, own.version
    FROM own {claims.in_force("own.heir_fence", "own.heir")}
    JOIN autotask_task t ON t.id = own.heir AND t.gate = own.gate AND t.passed = 0
    WHERE t.id = ANY(ARRAY(SELECT heir FROM own WHERE heir IS NOT NULL))
    FOR NO KEY UPDATE OF t
),
inherited AS (
    UPDATE autotask_slot s SET task_id = heir.id, place = 1, version = nextval('autotask_fence')
    FROM heir WHERE s.gate = heir.gate AND s.number = heir.number AND s.version = heir.version
    RETURNING s.gate, s.number, heir.id
),
begun AS (
    UPDATE autotask_task t SET passed = 1 WHERE t.id = ANY(ARRAY(SELECT id FROM inherited)) AND t.passed = 0
),
freed AS MATERIALIZED (
    SELECT own.gate, array_agg(own.number) AS numbers, array_agg(own.version) AS versions
    FROM own
    LEFT JOIN unnest(%(bases)s::text[], %(most)s::int[]) AS present(base, most)
        ON present.base = split_part(substr(own.gate, 7), '(', 1)
    WHERE own.number <= coalesce(present.most, own.most) AND NOT {pauses.bars_gate("own.gate")}
      AND NOT EXISTS (SELECT FROM inherited i WHERE i.gate = own.gate AND i.number = own.number)
    GROUP BY own.gate
),
{first("following", "freed", more=", free.versions[first.turn] AS version")},
handed AS (
    UPDATE autotask_slot s SET task_id = following.id, place = following.place, version = nextval('autotask_fence')
    FROM following
    WHERE s.gate = following.gate AND s.number = following.number AND s.version = following.version
    RETURNING s.gate, following.id, following.turn, following.address
),
former AS MATERIALIZED (
    SELECT s.gate, s.number
    FROM (SELECT gate, id FROM handed UNION ALL SELECT gate, id FROM inherited) AS given
    JOIN autotask_slot s ON s.gate = given.gate AND s.task_id = given.id
    FOR UPDATE OF s SKIP LOCKED
),
left_behind AS (
    DELETE FROM autotask_slot s USING former WHERE s.gate = former.gate AND s.number = former.number
),
{passing("handed")},
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT gate, clock_timestamp() FROM (
        SELECT gate, 1 AS free FROM ended WHERE passed = 1 AND starts_with(gate, 'limit:')
        UNION ALL
        SELECT gate, -1 FROM handed
        UNION ALL
        SELECT gate, -1 FROM inherited
        UNION ALL
        SELECT gate.value->>'key', 1
        FROM ended e CROSS JOIN LATERAL jsonb_array_elements(e.flow->'gates') AS gate
        WHERE e.passed > 1 AND gate.value ? 'most'
        UNION ALL
        SELECT gate, 1 FROM next_gate
    ) AS open
    GROUP BY gate HAVING sum(free) > 0
    RETURNING 1
)
"""

#: The result: the heirs, the gates at which others waited, how many of these are ready now, and the number of marks.
HANDED = """(SELECT array_agg(id) FROM inherited), (SELECT array_agg(DISTINCT gate) FROM handed),
(SELECT count(*) FROM passing WHERE state = 1), (SELECT count(*) FROM marked)"""
