"""Limits whose tasks do not want to wait: drop them, or cancel those that run."""

from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import cancel, held, marks, model_rows
from autotask.store.connection import rows

#: The message of dropped tasks.
LIMIT_REACHED = "limit reached"

#: The most tasks that one statement drops.
PIECE = 500

_SAYS = "t.flow->'gates'->t.passed->>'when_full'"

# A task that has begun, and waits for another attempt or its next step, is not dropped.
_IS_DROPPED = f"""t.started_at IS NULL AND {_SAYS} = 'drop'
    AND NOT EXISTS (SELECT FROM autotask_step s WHERE s.task_id = t.id)"""

_DROPPED = f"""
WITH dropped AS MATERIALIZED (
    {held.locked("h.gate = %(gate)s", str(PIECE), task=_IS_DROPPED, lock="UPDATE")}
),
taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM dropped))),
gone AS (DELETE FROM autotask_task t WHERE t.id = ANY(ARRAY(SELECT id FROM dropped)) RETURNING t.*),
kept AS ({cancel.kept("gone", error_message=f"'{LIMIT_REACHED}'")} {model_rows.RETURNING}),
marked AS ({marks.freed("gone")})"""

# Of those that wait, the newest ones stay, as many as there are slots. For each of them, the oldest one that has a slot is
# cancelled; if that was done before, it only learns who gets its slot now.
SUPERSEDED = f"""
WITH waiting AS MATERIALIZED (
    SELECT t.id, row_number() OVER newest AS place, first_value(t.id) OVER newest AS last,
           coalesce(%(most)s::int, (t.flow->'gates'->t.passed->>'most')::int) AS most
    FROM autotask_held h JOIN autotask_task t ON t.id = h.id WHERE h.gate = %(gate)s AND {_SAYS} = 'cancel_running'
    WINDOW newest AS (ORDER BY t.created_at DESC, t.id DESC)
),
holder AS MATERIALIZED (
    SELECT t.id, row_number() OVER (ORDER BY t.cancel_requested DESC, t.created_at, t.id) AS place
    FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
    WHERE s.gate = %(gate)s
)
SELECT id, false, last FROM waiting WHERE place > most
UNION ALL
SELECT holder.id, true, waiting.id FROM holder JOIN waiting ON waiting.place = holder.place AND waiting.place <= waiting.most
"""


def clear(connection: BaseDatabaseWrapper, gate: str, present: Mapping[str, int]) -> None:
    """Drop the tasks at a full gate that do not wait, or make room for them.

    :param present: the current numbers of slots, by the bases of limits.
    """
    while cancel.end_held(connection, _DROPPED, {"gate": gate}) == PIECE:
        pass
    name = gate.partition(":")[2]
    base = name.partition("(")[0]
    for id, has_slot, by in rows(connection, SUPERSEDED, {"gate": gate, "most": present.get(base)}):
        what = (
            f"its slot of {name} was given to task {by}"
            if has_slot
            else f"task {by} waits for a slot of {name} instead"
        )
        cancel.cancel(connection, id, f"cancelled: {what}")
