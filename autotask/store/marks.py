"""Marks: requests to look at a gate, left in the transaction that makes a task wait there or frees a slot."""

from autotask.task import REMOTE

# Only limits are marked: tokens are not returned. NULL has no elements, so a task without gates leaves no mark.
_FREED = """
INSERT INTO autotask_mark (gate, at)
SELECT gate.value->>'key', clock_timestamp()
FROM {source} AS gone CROSS JOIN LATERAL jsonb_array_elements(gone.flow->'gates') AS gate
WHERE gate.value ? 'most'
GROUP BY 1
"""

#: The first gate of a task; NULL if it has none.
FIRST_GATE = "t.flow->'gates'->0->>'key'"

#: Whether a task that is begun has no gates to pass: one that should be cancelled is ready, for a worker to record that.
HAS_NONE = "(t.passed IS NULL OR t.cancel_requested)"

#: Whether a task that is due has no gates to pass now. One that waits for a client from outside passes them when the client begins its
#: step: before that, it would keep slots and tokens from others for as long as nobody comes.
PASSES = f"({HAS_NONE} OR t.executor = '{REMOTE}')"

#: The state of a task that is due: it waits at its first gate if it has one. ``passed`` is NULL without gates.
DUE_STATE = f"CASE WHEN {PASSES} THEN 1 ELSE 8 END"

#: Its ``ready_at``.
DUE_READY_AT = f"CASE WHEN {PASSES} THEN clock_timestamp() END"

#: Whether a claimed task is a follower that has no slot yet. If it is put back, it waits at its gate again, unless it should be cancelled:
#: then it is ready, too.
FOLLOWS = "(NOT t.cancel_requested AND coalesce(t.passed < jsonb_array_length(t.flow->'gates'), false))"


def freed(source: str) -> str:
    """Return a statement that marks the limits whose slots the tasks of a source have given up.

    :param source: a table expression with a column ``flow``.
    """
    return _FREED.format(source=source)
