"""Give back the tasks whose worker no longer lives."""

import functools
import json
import uuid
from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.signals import tell_lost
from autotask.store.connection import rows, text

# The first death puts a task back at once; each further one doubles the wait, since the task may be what kills its
# workers. Taking the fence away is what shuts out a late outcome.
# A task that is to run at most once may have begun, so it ends here.
# By an array of ids, because the planner takes the orphans for many, and in a join would read all that waits as well.
_RUNS_AGAIN = "t.lost + 1 < %(max_crashes)s AND NOT t.at_most_once AND NOT t.cancel_requested AS runs_again"

_BACK_OR_OVER = """
noted AS (
    INSERT INTO autotask_attempt (task_id, number, fence, state, worker_id, started_at, ended_at, error_message)
    SELECT t.id, t.attempt, t.fence, 7, t.worker_id, t.started_at, clock_timestamp(), orphan.reason
    FROM autotask_task t JOIN orphan USING (id)
    WHERE t.id = ANY(ARRAY(SELECT id FROM orphan))
),
back AS (
    UPDATE autotask_task t
    SET lost = t.lost + 1, fence = NULL, worker_id = NULL, unknown_since = NULL,
        state = CASE WHEN t.lost = 0 THEN 1 ELSE 0 END,
        ready_at = CASE WHEN t.lost = 0 THEN clock_timestamp() END,
        run_at = CASE WHEN t.lost = 0 THEN t.run_at ELSE clock_timestamp() + power(2, t.lost - 1) * interval '1 s' END
    WHERE t.id = ANY(ARRAY(SELECT id FROM orphan WHERE runs_again))
    RETURNING t.id, t.name, t.queue
),
over AS (
    DELETE FROM autotask_task t USING orphan
    WHERE t.id = ANY(ARRAY(SELECT id FROM orphan WHERE NOT runs_again)) AND orphan.id = t.id
    RETURNING t.*, orphan.reason
),
kept AS (
    INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, started_at, attempt,
                                 failures, lost, retries, ttl, timeout, executor, worker_id, fence, schedule, scheduled_for,
                                 at_most_once, progress_done, progress_total, ended_at, kept_until, payload, error_message)
    SELECT id, CASE WHEN cancel_requested THEN 5 ELSE 4 END, queue, priority, name, arguments, created_at, run_at,
           started_at, attempt, failures, lost + 1, retries, ttl, timeout, executor, worker_id, NULL, schedule, scheduled_for,
           at_most_once, progress_done, progress_total, clock_timestamp(), clock_timestamp() + greatest(ttl, %(error_ttl)s) * interval '1 s', payload,
           CASE WHEN cancel_requested THEN ''
                WHEN at_most_once THEN format('its %%s died: %%s; at_most_once: it is not run again', %(what)s::text, reason)
                ELSE format('killed its %%s %%s times: %%s', %(what)s::text, lost + 1, reason) END
    FROM over
),
lost AS (
    SELECT json_agg(json_build_array(gone.id, gone.name, gone.queue, orphan.reason, gone.ended))::text AS all_of_them
    FROM (SELECT id, name, queue, false AS ended FROM back UNION ALL SELECT id, name, queue, true FROM over) AS gone
    JOIN orphan USING (id)
),
told AS (
    SELECT pg_notify('autotask_ended_' || replace(id::text, '-', ''), '') FROM over WHERE awaited
)
"""

# Three kinds of orphans: of a worker that is known to be dead, of one whose lease has run out, and of one that is not in
# the register at all.
RESCUE = f"""
WITH dead AS MATERIALIZED (
    SELECT id FROM autotask_worker
    WHERE (lease_until < clock_timestamp() AND id IS DISTINCT FROM %(rescuer)s::uuid) OR id = ANY(%(dead)s::uuid[])
    ORDER BY id FOR UPDATE SKIP LOCKED
),
orphan AS MATERIALIZED (
    SELECT t.id, %(reason)s::text AS reason, {_RUNS_AGAIN}
    FROM autotask_task t
    WHERE t.state = 2
      AND (t.worker_id IN (SELECT id FROM dead) OR NOT EXISTS (SELECT 1 FROM autotask_worker w WHERE w.id = t.worker_id))
    ORDER BY t.id FOR UPDATE SKIP LOCKED
),
{_BACK_OR_OVER},
buried AS (DELETE FROM autotask_worker w USING dead WHERE w.id = dead.id RETURNING w.id)
SELECT (SELECT count(*) FROM buried), (SELECT count(*) FROM back), (SELECT count(*) FROM over),
       (SELECT count(*) FROM told), (SELECT all_of_them FROM lost)
"""

# The worker lives, but the process in which it had a task run does not.
LOSE = f"""
WITH orphan AS MATERIALIZED (
    SELECT t.id, o.reason, {_RUNS_AGAIN}
    FROM autotask_task t
    JOIN unnest(%(id)s::uuid[], %(fence)s::bigint[], %(reason)s::text[]) AS o(id, fence, reason)
      ON t.id = o.id AND t.fence = o.fence
    WHERE t.id = ANY(%(id)s::uuid[])
    ORDER BY t.id FOR UPDATE OF t
),
{_BACK_OR_OVER}
SELECT (SELECT count(*) FROM orphan), (SELECT count(*) FROM back), (SELECT count(*) FROM over),
       (SELECT count(*) FROM told), (SELECT all_of_them FROM lost)
"""


def rescue(
    connection: BaseDatabaseWrapper,
    dead: Sequence[uuid.UUID],
    *,
    reason: str,
    max_crashes: int,
    error_ttl: float,
    rescuer: uuid.UUID | None = None,
) -> tuple[int, int, int]:
    """Give back the tasks of dead workers; end those that have killed too many.

    :param dead: workers that are known to be dead; those whose lease has run out are found here.
    :param reason: what is known of the death, for people.
    :param max_crashes: deaths under one task after which it ends in ERROR.
    :param error_ttl: seconds for which errors are kept at least.
    :param rescuer: the worker that rescues; its own lease may have run out.
    :returns: numbers of workers buried, of tasks given back, and of tasks ended.
    """
    params = {
        "dead": list(dead),
        "reason": reason,
        "what": "worker",
        "max_crashes": max_crashes,
        "error_ttl": error_ttl,
        "rescuer": rescuer,
    }
    buried, back, over, _told, lost = rows(connection, RESCUE, params)[0]
    _tell(connection, lost)
    return buried, back, over


def lose(
    connection: BaseDatabaseWrapper,
    claims: Sequence[tuple[uuid.UUID, int, str]],
    *,
    max_crashes: int,
    error_ttl: float,
) -> int:
    """Give back tasks whose process has died, while their worker lives; end those that have killed too many.

    :param claims: id, fence, and what is known of the death.
    :returns: how many were still ours.
    """
    params = {
        "id": [claim[0] for claim in claims],
        "fence": [claim[1] for claim in claims],
        "reason": [text(claim[2], 10_000) for claim in claims],
        "what": "process",
        "max_crashes": max_crashes,
        "error_ttl": error_ttl,
    }
    orphans, _back, _over, _told, lost = rows(connection, LOSE, params)[0]
    _tell(connection, lost)
    return int(orphans)


def _tell(connection: BaseDatabaseWrapper, lost: str | None) -> None:
    for id, name, queue, reason, ended in json.loads(lost or "[]"):
        connection.on_commit(functools.partial(tell_lost, uuid.UUID(id), name, queue, reason, ended), robust=True)
