"""Tasks whose steps a client outside starts: offer one, make its step due for a worker, see how the step has ended.

Such a task has the executor ``remote``, for which no worker claims. While a step is due or runs, it has the executor of its
definition, and is a task like any other. None of these commits waits for the disk: a lost one costs the client a repetition,
and what a step does is committed later, with all that was committed before.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import notify, pauses
from autotask.store.connection import execute, rows
from autotask.store.promote import PROMOTE_THESE
from autotask.task import REMOTE, State

#: Seconds for which an offered task is offered to nobody else.
OFFERED = 30.0

_QUICK = "quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))"

# * One descent of autotask_ready for each priority in a queue, as in the claim of a worker, and one for its oldest task.
# * Among lanes of the same priority, the one with the oldest task comes first. It stays oldest while it is offered, so its
#   condition is that of the task; the lateral join below locks the first one that nobody else has locked.
OFFER = f"""
WITH RECURSIVE lane AS (
    SELECT q.queue, (SELECT min(t.priority) FROM autotask_task t WHERE t.state = 1 AND t.queue = q.queue) AS priority
    FROM unnest(%(queues)s::text[]) AS q(queue)
    UNION ALL
    SELECT lane.queue, (SELECT min(t.priority) FROM autotask_task t
                        WHERE t.state = 1 AND t.queue = lane.queue AND t.priority > lane.priority)
    FROM lane WHERE lane.priority IS NOT NULL
),
oldest AS MATERIALIZED (
    SELECT lane.queue, lane.priority,
           (SELECT min(t.ready_at) FROM autotask_task t
            WHERE t.state = 1 AND t.queue = lane.queue AND t.priority = lane.priority AND t.executor = '{REMOTE}') AS since
    FROM lane WHERE lane.priority IS NOT NULL
),
picked AS MATERIALIZED (
    SELECT chosen.id
    FROM (SELECT * FROM oldest WHERE since <= statement_timestamp() ORDER BY priority DESC, since) AS lane
    CROSS JOIN LATERAL (
        SELECT t.id FROM autotask_task t
        WHERE t.state = 1 AND t.queue = lane.queue AND t.priority = lane.priority AND t.executor = '{REMOTE}'
          AND t.ready_at <= statement_timestamp() AND t.name = ANY(%(names)s::text[]) AND NOT {pauses.BARS_TASK}
        ORDER BY t.ready_at LIMIT 1
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS chosen
    LIMIT 1
),
{_QUICK}
UPDATE autotask_task t SET ready_at = clock_timestamp() + %(seconds)s * interval '1 s'
FROM picked, quick WHERE t.id = picked.id
RETURNING t.id, t.name
"""

_BEHIND = "(SELECT coalesce(max(s.number), 0) FROM autotask_step s WHERE s.task_id = {id} AND s.number > 0)"

# A task that waits for its next step has given up its slots, and passes its gates again. Any other task that waits for a later
# time has not been offered.
DUE = f"""
WITH {_QUICK}
UPDATE autotask_task t
SET state = CASE WHEN t.state = 0 AND t.passed IS NOT NULL THEN 0 ELSE 1 END, executor = %(executor)s,
    payload = coalesce(%(payload)s::bytea, t.payload), run_at = statement_timestamp(),
    ready_at = CASE WHEN t.state = 0 AND t.passed IS NOT NULL THEN NULL ELSE statement_timestamp() END, awaited = true
FROM quick
WHERE t.id = %(id)s AND t.executor = '{REMOTE}' AND (t.state = 1 OR (t.state = 0 AND %(behind)s > 0))
  AND {_BEHIND.format(id="t.id")} = %(behind)s
RETURNING t.state
"""

# Somebody has to discard it: no client can.
HAND_OVER = f"""
UPDATE autotask_task SET executor = %(executor)s, ready_at = statement_timestamp()
WHERE id = %(id)s AND executor = '{REMOTE}' AND state = 1
"""

# It stays ready, so that it keeps its slots.
HOLD = f"""
WITH {_QUICK}
UPDATE autotask_task t SET ready_at = statement_timestamp() + %(seconds)s * interval '1 s'
FROM quick
WHERE t.id = %(id)s AND t.executor = '{REMOTE}' AND t.state = 1 AND {_BEHIND.format(id="t.id")} = %(behind)s
RETURNING t.id
"""

# One snapshot: it is in one of the tables, or in neither.
SITUATION = f"""
SELECT t.state, t.executor, {_BEHIND.format(id="t.id")} FROM autotask_task t WHERE t.id = %(id)s
UNION ALL
SELECT e.state, '', 0 FROM autotask_result e WHERE e.id = %(id)s
"""

OVERDUE = f"""
SELECT id, name FROM autotask_task
WHERE state = 0 AND run_at <= statement_timestamp() AND executor = '{REMOTE}' LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Situation:
    """What a task does now.

    :ivar behind: how many steps a live one has behind it.
    """

    state: State
    executor: str
    behind: int

    @property
    def waits_for_client(self) -> bool:
        """Whether its next step is for a client to start, now or when its time has come."""
        return self.executor == REMOTE and self.state in (State.SCHEDULED, State.READY, State.HELD)


def offer(
    connection: BaseDatabaseWrapper, queues: Sequence[str], names: Sequence[str], seconds: float = OFFERED
) -> tuple[uuid.UUID, str] | None:
    """Take the ready task of some queues that has the highest priority and has waited longest.

    It stays ready; after some seconds it is offered again.

    :param names: only tasks of these names.
    :returns: its id and its name; None: no task is ready.
    """
    found = rows(connection, OFFER, {"queues": list(queues), "names": list(names), "seconds": seconds})
    return found[0] if found else None  # type: ignore[return-value]  # a row has these two


def due(
    connection: BaseDatabaseWrapper, id: uuid.UUID, *, behind: int, executor: str, payload: bytes | None
) -> bool:
    """Make the next step of a task due for a worker, and ask to be told of its end.

    :param behind: how many steps the task must have behind it.
    :param executor: where the step runs.
    :param payload: the arguments for this step; None: as they are.
    :returns: False if the task does not wait for that step; then nothing has changed.
    """
    params = {"id": id, "behind": behind, "executor": executor, "payload": payload}
    found = rows(connection, DUE, params)
    if not found:
        return False
    if found[0][0] == State.SCHEDULED:
        rows(connection, PROMOTE_THESE, {"id": [id]})
    notify.wake_after_commit(connection)
    return True


def hold(connection: BaseDatabaseWrapper, id: uuid.UUID, *, behind: int, seconds: float) -> bool:
    """Offer a ready task to nobody else for some seconds, if it has that many steps behind it; return whether it has."""
    return bool(rows(connection, HOLD, {"id": id, "behind": behind, "seconds": seconds}))


def hand_over(connection: BaseDatabaseWrapper, id: uuid.UUID, executor: str) -> None:
    """Let a worker run a task that no client can."""
    if execute(connection, HAND_OVER, {"id": id, "executor": executor}):
        notify.wake_after_commit(connection)


def situation(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Situation | None:
    """Return what a task does now; None: it is not in the database."""
    found = rows(connection, SITUATION, {"id": id})
    return Situation(State(found[0][0]), *found[0][1:]) if found else None


def offer_overdue(connection: BaseDatabaseWrapper, limit: int = 1000) -> dict[str, int]:
    """Make tasks ready whose client has not begun the next step in time.

    :returns: how many, by the names of the tasks.
    """
    overdue: list[tuple[Any, ...]] = rows(connection, OVERDUE, {"limit": limit})
    if overdue:
        rows(connection, PROMOTE_THESE, {"id": [id for id, _ in overdue]})
    names = [name for _, name in overdue]
    return {name: names.count(name) for name in names}
