"""The held table: a narrow row for each task that waits at a gate, in the order in which they pass.

The task itself has the state HELD until it passes its last gate. It waits while it has a row here; without one it is a
follower, which runs in a claim (:mod:`autotask.store.follow`), and whose own row stays as it is. So a statement that has a
task wait at a gate adds the row, and one that acts on a waiting task deletes it: its lock decides who wins.

These rows are only inserted and deleted, and never updated. So a row that a statement has locked is the one that it has seen.
"""

from autotask.store import pauses, ready
from autotask.task import THREAD, State

#: Tasks with larger arguments than this, in bytes, do not become followers: a worker holds many of these.
SMALL = 10_000

_NAMES = ("gate", "rank", "run_at", "id", "queue", "expires_at", "follows", "resets")

#: The order in which tasks pass a gate, of rows *h* of the table.
ORDER = "h.rank, h.run_at, h.id"

#: Reads the rows that pass a gate before that of a task, *t*.
# Not by a comparison of rows: before PostgreSQL 18, a scan does not end where this fails, and would read the rest of the gate.
BEFORE = """
    SELECT FROM autotask_held h WHERE h.gate = t.gate AND h.rank < -t.priority
    UNION ALL
    SELECT FROM autotask_held h WHERE h.gate = t.gate AND h.rank = -t.priority AND h.run_at < t.run_at
    UNION ALL
    SELECT FROM autotask_held h WHERE h.gate = t.gate AND h.rank = -t.priority AND h.run_at = t.run_at AND h.id < t.id"""

#: Whether a row of the table, *h*, is that of a task, *t*: by the primary key.
IS_OF = "(h.gate, h.rank, h.run_at, h.id) = (t.gate, -t.priority, t.run_at, t.id)"

# One that has other gates, or may have killed its worker, does not follow.
_FOLLOWS = f"""CASE WHEN t.state = {State.HELD:d} THEN
    t.passed = 0 AND t.lost = 0 AND t.unknown_since IS NULL AND t.executor = '{THREAD}' AND octet_length(t.payload) <= {SMALL}
    AND coalesce(t.flow->'gates'->0->>'when_full', 'wait') = 'wait' AND t.flow->'gates'->1 IS NULL END"""

#: The columns that a statement must return of the tasks that it makes ready or has wait at a gate, for :func:`come`.
RETURNING = f"{ready.RETURNING}, t.gate, t.run_at, t.expires_at, {_FOLLOWS} AS follows"

#: The same, for an INSERT, where the table has no other name.
RETURNED = RETURNING.replace("t.", "")

#: Whether the task of a row, *h*, is still there: somebody may have deleted it by hand.
IS_LIVE = "EXISTS (SELECT FROM autotask_task t WHERE t.id = h.id)"

#: The state of a task ``t``, when only a few are read: a task that does not wait runs, and these tables have indexes for that.
STATE = f"""CASE WHEN t.state = {State.READY:d} AND NOT EXISTS (SELECT FROM autotask_ready r WHERE {ready.IS_OF})
    OR t.state = {State.HELD:d} AND NOT EXISTS (SELECT FROM autotask_held h WHERE {IS_OF})
    THEN {State.RUNNING:d}::smallint ELSE t.state END"""


def has_state(state: State) -> str:
    """Return the condition that a task ``t``, which is looked up by its id, has a state.

    The plain condition would offer the planner the index of all tasks in this state. After many have come into it, it expects none there
    until the next ANALYZE, and would read this whole index for each id.
    """
    return f"t.state + 0 = {state:d}"


def come(source: str) -> str:
    """Return a statement that adds the rows of those tasks of a source that wait at a gate, and returns this gate.

    :param source: a table expression with the columns of :data:`RETURNING`.
    """
    return f"""
INSERT INTO autotask_held ({", ".join(_NAMES)})
SELECT come.gate, -come.priority, come.run_at, come.id, come.queue, come.expires_at, coalesce(come.follows, false),
       coalesce(starts_with(come.unique_key, 'waiting:'), false) OR come.progress_done IS NOT NULL
FROM {source} AS come WHERE come.state = {State.HELD:d}
RETURNING gate
"""


def waiting(source: str) -> str:
    """Return CTEs that add these rows, and mark their gates; not those of pauses, whose marks nobody would take.

    :param source: a table expression with the columns of :data:`RETURNING`.
    """
    return f"""held AS ({come(source)}),
waiting AS (
    INSERT INTO autotask_mark (gate, at)
    SELECT gate, clock_timestamp() FROM held WHERE NOT starts_with(gate, '{pauses.GATE}') GROUP BY gate
)"""


def taken(tasks: str) -> str:
    """Return a statement that deletes the rows of tasks that wait at a gate, and returns the ids of those that had one.

    The others are claimed just now, or run.

    :param tasks: a table expression with whole rows of tasks, or with the columns of :data:`IS_OF`.
    """
    return f"DELETE FROM autotask_held h USING {tasks} AS t WHERE {IS_OF} RETURNING h.id"


#: The order in which tasks ``t`` are locked: that in which calls take and replace their keys.
LOCK_ORDER = "coalesce(t.flow ->> 'unique', '') COLLATE \"C\", t.id"


# As for ready.still_ready(): of a ready row that somebody has written since the statement began, the lock is that of a version that
# it does not see. Such a task is left alone, as if it was claimed.
def locked_in_order(
    which: str, condition: str = "true", columns: str = "", *, source: str = "autotask_task t", carried: str = ""
) -> str:
    """Return the CTE ``locked``, which locks waiting tasks one after the other, each with its ready or held row before it.

    All statements that wait for rows of several waiting tasks lock them in this way, and in the order of :data:`LOCK_ORDER`
    (docs/explanation/how_it_works.rst, "The order of locks").

    It has the ``id`` of each, and ``ready_address`` and ``held_address`` of these rows, or NULL.

    :param which: the condition for the tasks, ``t``.
    :param condition: holds for them when they are locked.
    :param columns: more of their columns, each after a comma.
    :param source: the tasks, perhaps joined with others.
    :param carried: columns of these others, each after a comma.
    """
    return f"""line AS MATERIALIZED (
    SELECT t.id, t.state, t.queue, t.priority, t.executor, t.ready_at, t.gate, t.run_at{carried}
    FROM {source} WHERE {which} ORDER BY {LOCK_ORDER}
),
locked AS MATERIALIZED (
    SELECT of_ready.address AS ready_address, of_held.address AS held_address, task.*{carried}
    FROM line
    LEFT JOIN LATERAL (
        SELECT r.ctid AS address FROM autotask_ready r
        WHERE line.state = {State.READY:d} AND {ready.IS_OF.replace("t.", "line.")} FOR UPDATE
    ) AS of_ready ON true
    LEFT JOIN LATERAL (
        SELECT h.ctid AS address FROM autotask_held h
        WHERE line.state = {State.HELD:d} AND {IS_OF.replace("t.", "line.")} FOR UPDATE
    ) AS of_held ON true
    CROSS JOIN LATERAL (
        SELECT t.id{columns} FROM autotask_task t
        WHERE t.id = line.id AND {condition} AND CASE t.state
            WHEN {State.SCHEDULED:d} THEN true
            WHEN {State.READY:d} THEN EXISTS (SELECT FROM autotask_ready WHERE ctid = of_ready.address)
            ELSE of_held.address IS NOT NULL END
        FOR NO KEY UPDATE
    ) AS task
)"""


#: Deletes the held rows of such tasks, which are inserted again: with the same key the old one would be in the way.
TAKEN = "taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT held_address FROM locked)) RETURNING 1)"

#: A condition that has :data:`TAKEN` done before.
ARE_TAKEN = "(SELECT count(*) FROM taken) >= 0"


def first(gate: str, most: str, more: str = "") -> str:
    """Return a statement that locks the rows of the first tasks at a gate, without those that somebody else has locked.

    They come in their order, with their ``address`` and ``id``.

    :param gate: an expression for the name of the gate.
    :param most: one for how many they are at most.
    :param more: further columns.
    """
    return f"""SELECT h.ctid AS address, h.id{more} FROM autotask_held h WHERE h.gate = {gate}
            ORDER BY {ORDER} LIMIT {most} FOR UPDATE SKIP LOCKED"""


# A subquery that locks is not made a join, so that no more tasks are read and locked than needed.
_TASK = (
    "CROSS JOIN LATERAL (SELECT t.passed FROM autotask_task t WHERE t.id = h.id AND {task} FOR {lock} SKIP LOCKED) AS t"
)


def locked(
    which: str, most: str, *, order: str = ORDER, more: str = "", task: str = "true", lock: str = "NO KEY UPDATE"
) -> str:
    """Return a statement that locks the rows of some tasks in both tables, without those that somebody else has locked.

    It is for statements that write the tasks: a caller's transaction may have locked one, and may wait for its row here later. A row
    whose task somebody has deleted by hand is left out; the sweep deletes it.

    :param which: the condition for the rows, *h*.
    :param most: how many at most.
    :param order: in which order they come, with their ``address`` and ``id``.
    :param more: further columns, also ``t.passed``.
    :param task: a condition for their tasks, *t*.
    :param lock: UPDATE to delete the tasks.
    """
    return f"""SELECT h.ctid AS address, h.id{more} FROM autotask_held h {_TASK.format(task=task, lock=lock)}
    WHERE {which} ORDER BY {order} LIMIT {most} FOR UPDATE OF h SKIP LOCKED"""
