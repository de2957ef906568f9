"""Slots of limits: SQL that gives free ones to waiting tasks.

A slot is taken while the task that it names is live and has passed its gate. So ending, cancelling or rescheduling a task
frees its slots by itself, and nothing can leak. Two sessions never give the same slot away: each changes the row only if it
still names the former task, or inserts it.
"""

from collections.abc import Mapping

from autotask.store import arrays, pauses

# The first tasks in the queues of gates, as many as there are free slots. A locked one is being cancelled or replaced: it is
# left out, and whoever has locked it leaves a mark, or the sweep finds it.
_WAITING = """
{name} AS MATERIALIZED (
    SELECT free.gate, first.id, first.passed,
           row_number() OVER (PARTITION BY free.gate ORDER BY first.priority DESC, first.run_at, first.id) AS turn
    FROM (SELECT gate, count(*) AS slots FROM {free} GROUP BY gate) AS free
    CROSS JOIN LATERAL (
        SELECT t.id, t.passed, t.priority, t.run_at FROM autotask_task t
        WHERE t.state = 8 AND t.gate = free.gate
        ORDER BY t.priority DESC, t.run_at, t.id LIMIT free.slots
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS first
)"""

# A task goes on to its next gate, or is ready. Tasks are ready a microsecond apart, as in a bulk.
_PASSING = """
{name} AS (
    UPDATE autotask_task t
    SET passed = t.passed + 1,
        gate = coalesce(t.flow->'gates'->(t.passed + 1)->>'key', t.gate),
        state = CASE WHEN t.flow->'gates'->(t.passed + 1) IS NULL THEN 1 ELSE 8 END,
        ready_at = CASE WHEN t.flow->'gates'->(t.passed + 1) IS NULL
                        THEN clock_timestamp() + through.turn * interval '1 us' END
    FROM {through} AS through
    WHERE t.id = ANY(ARRAY(SELECT id FROM {through})) AND t.id = through.id
    RETURNING t.state, t.gate, t.queue, t.priority, t.executor
)"""


def parameters(present: Mapping[str, int]) -> dict[str, str]:
    """Return the parameters that name the present numbers of slots, by the bases of the limits."""
    return {"bases": arrays.texts(present), "most": arrays.numbers(present.values())}


def waiting(name: str, free: str) -> str:
    """Return a CTE with the tasks that come next: gate, id, passed, and their turn from 1 at each gate.

    :param free: a table with one row and the column ``gate`` for each free slot.
    """
    return _WAITING.format(name=name, free=free)


def passing(name: str, through: str) -> str:
    """Return a CTE that lets tasks pass their gates: state, gate, queue, priority and executor of each after that.

    :param through: a table with the columns ``id`` and ``turn``.
    """
    return _PASSING.format(name=name, through=through)


# The slot of a task that ended goes to the next one. Nobody else changes its row: for them, it is taken until the commit.
# * If nobody waits, or all who wait are locked, a mark is left. So a task that comes at the same moment is not overlooked:
#   either its own mark or this one is seen by a worker that sees both the task and the free slot.
# * Slots above the present number are not given on.
# * Tasks that had passed several gates only leave marks.
HAND_ON = f"""
freed AS MATERIALIZED (
    SELECT e.gate, s.number, s.task_id, row_number() OVER (PARTITION BY e.gate ORDER BY s.number) AS turn
    FROM ended e
    JOIN autotask_slot s ON s.gate = e.gate AND s.task_id = e.id
    LEFT JOIN unnest(%(bases)s::text[], %(most)s::int[]) AS present(base, most)
        ON present.base = split_part(substr(e.gate, 7), '(', 1)
    WHERE e.passed = 1 AND s.number <= coalesce(present.most, (e.flow->'gates'->0->>'most')::int)
      AND NOT {pauses.bars_gate("e.gate")}
),
{_WAITING.format(name="following", free="freed")},
handed AS (
    UPDATE autotask_slot s SET task_id = following.id, place = following.passed + 1
    FROM freed JOIN following USING (gate, turn)
    WHERE s.gate = freed.gate AND s.number = freed.number AND s.task_id = freed.task_id
    RETURNING s.gate, following.id, following.turn
),
{_PASSING.format(name="passing", through="handed")},
marked AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT DISTINCT gate, clock_timestamp() FROM (
        SELECT gate.value->>'key' AS gate
        FROM ended e CROSS JOIN LATERAL jsonb_array_elements(e.flow->'gates') AS gate
        WHERE e.passed > 1 AND gate.value ? 'most'
        UNION ALL
        SELECT gate FROM (SELECT gate, count(*) FROM ended WHERE passed = 1 AND starts_with(gate, 'limit:') GROUP BY gate) AS over
        LEFT JOIN (SELECT gate, count(*) FROM handed GROUP BY gate) AS given USING (gate)
        WHERE given.count IS DISTINCT FROM over.count
        UNION ALL
        SELECT gate FROM passing WHERE state = 8
    ) AS open
)
"""
