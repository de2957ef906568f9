"""The ready table: a narrow row for each task that may be claimed now, which the claim deletes.

The task itself has the state READY from then on until its attempt ends: it is ready while it has a row here, and runs while
it is in a claim (:mod:`autotask.store.claims`). So a statement that makes a task ready adds the row in the same statement, and
one that acts on a ready task deletes it first: its lock decides the race with a claim.
"""

from autotask.task import State

_NAMES = ("queue", "priority", "executor", "ready_at", "id", "suspect", "resets")

#: The columns of the table, for an INSERT.
COLUMNS = ", ".join(_NAMES)

#: The columns that a statement must return of the tasks that it makes ready, for :func:`come`.
RETURNING = "t.id, t.state, t.queue, t.priority, t.executor, t.ready_at, t.lost, t.unique_key, t.progress_done"

#: The same, for an INSERT, where the table has no other name.
RETURNED = RETURNING.replace("t.", "")

#: Whether a row of the table, *r*, is that of a task, *t*. By the primary key, so there is no second index.
IS_OF = "(r.queue, r.priority, r.executor, r.ready_at, r.id) = (t.queue, t.priority, t.executor, t.ready_at, t.id)"


def again_at(claimed_at: str) -> str:
    """Return an expression for when a task ``t`` that is released became ready: then, so that it keeps its place.

    A follower that has got a slot became ready when it was claimed. A suspect waits again for a worker that is idle: any worker takes one
    that has waited long.

    :param claimed_at: when it was claimed.
    """
    return f"CASE WHEN t.lost = 0 THEN coalesce(t.ready_at, {claimed_at}) ELSE clock_timestamp() END"


def come(source: str) -> str:
    """Return a statement that adds the rows of those tasks of a source that are ready.

    :param source: a table expression with the columns of :data:`RETURNING`.
    """
    return f"""
INSERT INTO autotask_ready ({COLUMNS})
SELECT come.queue, come.priority, come.executor, come.ready_at, come.id, come.lost > 0,
       coalesce(starts_with(come.unique_key, 'waiting:'), false) OR come.progress_done IS NOT NULL
FROM {source} AS come WHERE come.state = {State.READY:d}
"""


# Of a row that somebody has written since the statement began, the lock is that of its new version. The statement does not see
# it, and would neither delete nor change it: such a task is left alone, as if it was claimed.
def still_ready(locked: str) -> str:
    """Return the CTE ``still_ready``, which locks the rows of ready tasks: with their ``address`` and ``id``.

    Those that are being claimed are left out: a session that has locked a task first does not wait for its row here, since a claim may
    wait for the task.

    :param locked: a CTE with the columns of :data:`IS_OF` and ``state``.
    """
    return f"""locked_ready AS MATERIALIZED (
    SELECT r.ctid AS address FROM {locked} AS t JOIN autotask_ready r ON {IS_OF} WHERE t.state = 1
    FOR UPDATE OF r SKIP LOCKED
),
still_ready AS MATERIALIZED (
    SELECT ctid AS address, id FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT address FROM locked_ready))
)"""


def taken(tasks: str) -> str:
    """Return a statement that deletes the rows of ready tasks, and returns the ids of those that had one.

    The others are claimed just now, or run.

    :param tasks: a table expression with whole rows of tasks, or with the columns of :data:`IS_OF`.
    """
    return f"DELETE FROM autotask_ready r USING {tasks} AS t WHERE {IS_OF} RETURNING r.id"
