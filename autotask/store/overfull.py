"""Limits whose tasks do not want to wait: drop them, or cancel those that run."""

import functools
import uuid
from collections.abc import Mapping

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.signals import tell_cancelled
from autotask.store import cancel, marks, model_rows, notify
from autotask.store.connection import rows

#: The message of dropped tasks.
LIMIT_REACHED = "limit reached"

#: The most tasks that one statement drops.
PIECE = 500

_SAYS = "t.flow->'gates'->t.passed->>'when_full'"

# A task that has begun, and waits for another attempt, is not dropped.
_GONE = f"""
WITH gone AS (
    DELETE FROM autotask_task t
    WHERE t.id = ANY(ARRAY(
        SELECT t.id FROM autotask_task t
        WHERE t.state = 8 AND t.gate = %(gate)s AND t.started_at IS NULL AND {_SAYS} = 'drop'
        LIMIT {PIECE} FOR UPDATE SKIP LOCKED
    ))
    RETURNING t.*
),
kept AS ({cancel.kept("gone", error_message=f"'{LIMIT_REACHED}'")} {model_rows.RETURNING}),
marked AS ({marks.freed("gone")})"""

_DROPPED = "\nSELECT id, name, queue, awaited FROM gone"

DROP = _GONE + _DROPPED

# Of those that wait, the newest ones stay, as many as there are slots. For each of them, the oldest one that has a slot is
# cancelled, unless that was done before.
SUPERSEDED = f"""
WITH waiting AS MATERIALIZED (
    SELECT t.id, row_number() OVER (ORDER BY t.created_at DESC, t.id DESC) AS place,
           coalesce(%(most)s::int, (t.flow->'gates'->t.passed->>'most')::int) AS most
    FROM autotask_task t WHERE t.state = 8 AND t.gate = %(gate)s AND {_SAYS} = 'cancel_running'
),
holder AS MATERIALIZED (
    SELECT t.id, t.cancel_requested, row_number() OVER (ORDER BY t.cancel_requested DESC, t.created_at, t.id) AS place
    FROM autotask_slot s JOIN autotask_task t ON t.id = s.task_id AND t.passed >= s.place
    WHERE s.gate = %(gate)s
)
SELECT id FROM waiting WHERE place > most
UNION ALL
SELECT id FROM holder WHERE NOT cancel_requested AND place <= (SELECT count(*) FROM waiting WHERE waiting.place <= most)
"""


def clear(connection: BaseDatabaseWrapper, gate: str, present: Mapping[str, int]) -> None:
    """Drop the tasks at a full gate that do not wait, or make room for them.

    :param present: the present numbers of slots, by the bases of limits.
    """
    while _drop(connection, gate) == PIECE:
        pass
    base = gate.partition(":")[2].partition("(")[0]
    for (id,) in rows(connection, SUPERSEDED, {"gate": gate, "most": present.get(base)}):
        cancel.cancel(connection, id)


def _drop(connection: BaseDatabaseWrapper, gate: str) -> int:
    dropped = model_rows.act_with(
        connection,
        lambda more: rows(connection, f"{_GONE}{more}{_DROPPED}", {"gate": gate}),
        model_rows.written(model_rows.tables.values()),
    )
    for id, name, queue, _ in dropped:
        connection.on_commit(functools.partial(tell_cancelled, id, name, queue), robust=True)
    awaited: list[uuid.UUID] = [id for id, _, _, awaited in dropped if awaited]
    if awaited:
        notify.tell_after_commit(connection, {notify.ended_channel(id): "" for id in awaited})
    return len(dropped)
