"""Rescue the tasks whose worker is dead."""

import functools
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.signals import tell_lost
from autotask.store import claims, columns, held, marks, model_rows, notify, ready
from autotask.store.connection import rows, text
from autotask.store.isolation import Refusals

# After the first death a task is ready at once; each further one doubles the wait, since the task may be killing its
# workers. A late outcome is refused because the fence is gone.
# A task that is ready keeps its slots: for its gates it has not stopped. One that waits or ends gives them up. A follower
# without a slot waits at its gate again.
# A task that runs at most once may have begun, so it ends here.
# By an array of ids: in a join, the planner might read all waiting tasks as well.
_RUNS_AGAIN = "t.lost + 1 < %(max_crashes)s AND NOT t.at_most_once AND NOT t.cancel_requested AS runs_again"

_KEPT = columns.insert(
    "autotask_result",
    "over",
    (*columns.COMMON, "worker_id"),
    state="CASE WHEN cancel_requested THEN 5 ELSE 4 END",
    attempt="attempt + 1",
    started_at="claimed_at",
    lost="lost + 1",
    ended_at="clock_timestamp()",
    kept_until="clock_timestamp() + greatest(ttl, %(error_ttl)s) * interval '1 s'",
    error_message="""
CASE WHEN cancel_requested THEN coalesce(flow ->> 'why', '')
     WHEN at_most_once THEN format('its %%s died: %%s; at_most_once: it is not run again', %(what)s::text, reason)
     ELSE format('killed its %%s %%s times: %%s', %(what)s::text, lost + 1, reason) END""",
)

_BACK_OR_OVER = f"""
noted AS (
    INSERT INTO autotask_attempt (task_id, number, fence, state, worker_id, started_at, ended_at, error_message)
    SELECT t.id, t.attempt + 1, orphan.fence, 7, orphan.worker_id, orphan.claimed_at, clock_timestamp(), orphan.reason
    FROM autotask_task t JOIN orphan USING (id)
    WHERE t.id = ANY(ARRAY(SELECT id FROM orphan))
),
back AS (
    UPDATE autotask_task t
    SET unique_key = {columns.KEY_AGAIN}, attempt = t.attempt + 1, lost = t.lost + 1, unknown_since = NULL,
        started_at = orphan.claimed_at,
        state = CASE WHEN t.lost > 0 THEN 0 WHEN {marks.FOLLOWS} THEN 8 ELSE 1 END,
        ready_at = CASE WHEN t.lost = 0 AND NOT {marks.FOLLOWS} THEN clock_timestamp() END,
        passed = CASE WHEN t.lost = 0 THEN 1 ELSE 0 END * t.passed,
        run_at = CASE WHEN t.lost = 0 THEN t.run_at ELSE clock_timestamp() + power(2, t.lost - 1) * interval '1 s' END
    FROM orphan WHERE t.id = ANY(ARRAY(SELECT id FROM orphan WHERE runs_again)) AND orphan.id = t.id
    RETURNING {held.RETURNING}, t.name, t.flow
),
come AS ({ready.come("back")}),
over AS (
    DELETE FROM autotask_task t USING orphan
    WHERE t.id = ANY(ARRAY(SELECT id FROM orphan WHERE NOT runs_again)) AND orphan.id = t.id
    RETURNING t.*, orphan.reason, orphan.worker_id, orphan.claimed_at
),
kept AS ({_KEPT} {model_rows.RETURNING}),
marked AS ({marks.freed("(SELECT flow FROM back WHERE state = 0 UNION ALL SELECT flow FROM over)")}),
{held.waiting("back")},
lost AS (
    SELECT json_agg(json_build_array(gone.id, gone.name, gone.queue, orphan.reason, gone.ended))::text AS all_of_them
    FROM (SELECT id, name, queue, false AS ended FROM back UNION ALL SELECT id, name, queue, true FROM over) AS gone
    JOIN orphan USING (id)
)"""

_DEAD = """
dead AS MATERIALIZED (
    SELECT id FROM autotask_worker
    WHERE (lease_until < clock_timestamp() AND id IS DISTINCT FROM %(rescuer)s::uuid) OR id = ANY(%(dead)s::uuid[])
    ORDER BY id FOR UPDATE SKIP LOCKED
),
buried AS (DELETE FROM autotask_worker w USING dead WHERE w.id = dead.id RETURNING w.id)
"""

# A claim whose tasks are all rescued is over. Those that somebody has locked, as by a request to cancel them in a long
# transaction, or that the database refuses, stay in it, for the next rescue.
_ORPHANS = f"""
place AS MATERIALIZED (
    SELECT u.id, l.number, l.number << {claims.PLACE_BITS} | u.place - 1 AS fence, l.worker_id, l.at AS claimed_at
    FROM lost_claim l CROSS JOIN LATERAL unnest(l.ids) WITH ORDINALITY AS u(id, place)
),
locked AS MATERIALIZED (
    SELECT t.id, {_RUNS_AGAIN} FROM autotask_task t WHERE t.id = ANY(ARRAY(SELECT id FROM place)) AND {{which}}
    ORDER BY t.id FOR UPDATE SKIP LOCKED
),
orphan AS MATERIALIZED (
    SELECT id, number, fence, worker_id, claimed_at, %(reason)s::text AS reason, runs_again
    FROM place JOIN locked USING (id)
),
kept_back AS MATERIALIZED (
    SELECT DISTINCT number FROM place JOIN autotask_task t USING (id)
    WHERE t.id = ANY(ARRAY(SELECT id FROM place EXCEPT SELECT id FROM locked))
),
claims_over AS (
    DELETE FROM autotask_claim c
    WHERE c.number = ANY(ARRAY(SELECT number FROM lost_claim EXCEPT SELECT number FROM kept_back))
),
left_over AS (
    UPDATE autotask_claim c SET ids = {claims.without("SELECT id FROM orphan")}
    WHERE c.number = ANY(ARRAY(SELECT number FROM kept_back INTERSECT SELECT number FROM orphan))
),
"""

_LOST_CLAIM = """
lost_claim AS MATERIALIZED (
    SELECT c.number, c.worker_id, c.at, c.ids FROM autotask_claim c WHERE {which} ORDER BY c.number FOR UPDATE SKIP LOCKED
),"""

# Three kinds of claims: of a worker known to be dead, of one whose lease has run out, and of one that is not registered.
_UNREGISTERED = "NOT EXISTS (SELECT 1 FROM autotask_worker w WHERE w.id = c.worker_id)"

_RESCUE = f"""
WITH {_DEAD},
{_LOST_CLAIM.format(which=f"c.worker_id IN (SELECT id FROM dead) OR {_UNREGISTERED}")}
{_ORPHANS.format(which="t.id <> ALL(%(spared)s::uuid[])")}
{_BACK_OR_OVER}"""

_RESCUED = """
SELECT (SELECT count(*) FROM buried), (SELECT count(*) FROM back), (SELECT count(*) FROM over),
       (SELECT array_agg(id) FROM over WHERE awaited), (SELECT all_of_them FROM lost)
"""

# If one of the orphans is refused, the workers are buried first. Then their tasks are found as those of workers that are not
# registered, so nothing is lost if the rescuer dies between the statements.
BURY = f"WITH {_DEAD} SELECT count(*) FROM buried"

ORPHANS = f"""
SELECT t.id FROM autotask_claim c CROSS JOIN LATERAL unnest(c.ids) AS u(id) JOIN autotask_task t ON t.id = u.id
WHERE {_UNREGISTERED} AND t.id <> ALL(%(spared)s::uuid[]) ORDER BY t.id
"""

#: The condition that there are claims of workers that are not registered. A part of another statement, too.
SOME_ARE_LEFT = f"EXISTS (SELECT 1 FROM autotask_claim c WHERE {_UNREGISTERED})"

LEFT = f"SELECT {SOME_ARE_LEFT}"

_RESCUE_THESE = f"""
WITH {_LOST_CLAIM.format(which=f"c.ids && %(id)s::uuid[] AND {_UNREGISTERED}")}
{_ORPHANS.format(which="t.id = ANY(%(id)s::uuid[])")}
{_BACK_OR_OVER}"""

_RESCUED_THESE = _RESCUED.replace("(SELECT count(*) FROM buried)", "0")

# The worker is alive, but the child process of its task does not.
_LOSE = f"""
WITH {claims.locked("NO KEY UPDATE")},
orphan AS MATERIALIZED (
    SELECT t.id, o.fence, c.worker_id, c.at AS claimed_at, o.reason, {_RUNS_AGAIN}
    FROM unnest(%(id)s::uuid[], %(fence)s::bigint[], %(reason)s::text[]) AS o(id, fence, reason)
    {claims.in_force("o.fence", "o.id")}
    JOIN autotask_task t ON t.id = o.id
    WHERE t.id = ANY(%(id)s::uuid[])
    ORDER BY t.id FOR UPDATE OF t
),
{claims.put_back("orphan")},
{_BACK_OR_OVER}"""

_LOST = _RESCUED.replace("FROM buried", "FROM orphan")

#: For the test that compares the columns of all statements that end tasks.
RESCUE = _RESCUE + _RESCUED


def refusals() -> Refusals[uuid.UUID]:
    """Return a memory for the orphans that the database refuses to rescue."""
    return Refusals("The orphaned task %s can be neither rescued nor finished")


def rescue(
    connection: BaseDatabaseWrapper,
    dead: Sequence[uuid.UUID],
    *,
    reason: str,
    max_crashes: int,
    error_ttl: float,
    rescuer: uuid.UUID | None = None,
    refused: Refusals[uuid.UUID] | None = None,
) -> tuple[int, int, int]:
    """Rescue the tasks of dead workers; end those that have killed too many.

    A task that the database refuses does not hold up others.

    :param dead: workers known to be dead; those whose lease has run out are found here.
    :param max_crashes: deaths under one task after which it ends in ERROR.
    :param rescuer: the worker that rescues; its own lease may have run out.
    :param refused: remembers tasks that were refused before.
    :returns: numbers of workers buried, of tasks that run again, and of tasks that ended.
    """
    refused = refusals() if refused is None else refused
    params = {
        "dead": list(dead),
        "reason": reason,
        "what": "worker",
        "max_crashes": max_crashes,
        "error_ttl": error_ttl,
        "rescuer": rescuer,
        "spared": refused.spared(),
    }
    buried = 0

    def find() -> list[uuid.UUID]:
        nonlocal buried
        buried = int(rows(connection, BURY, params)[0][0])
        return [id for (id,) in rows(connection, ORPHANS, params)]

    parts = refused.run_found(
        lambda: _rescue(connection, _RESCUE, _RESCUED, params),
        find,
        lambda ids: _rescue(connection, _RESCUE_THESE, _RESCUED_THESE, {**params, "id": list(ids)}),
    )
    return buried + sum(part[0] for part in parts), sum(part[1] for part in parts), sum(part[2] for part in parts)


def some_are_left(connection: BaseDatabaseWrapper) -> bool:
    """Whether there are claims of workers that are no longer registered: they were locked when their worker was buried."""
    return bool(rows(connection, LEFT)[0][0])


def _rescue(connection: BaseDatabaseWrapper, act: str, told: str, params: Mapping[str, Any]) -> tuple[int, int, int]:
    buried, back, over, awaited, lost = _act(connection, act, told, params)[0]
    _tell(connection, awaited, lost)
    return buried, back, over


def _act(connection: BaseDatabaseWrapper, act: str, told: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement, which also writes to the rows of tasks that have ended, if there are tables of such rows."""
    written = model_rows.written(model_rows.tables.values())
    return model_rows.act_with(connection, lambda more: rows(connection, f"{act}{more}{told}", params), written)


def lose(
    connection: BaseDatabaseWrapper,
    lost: Sequence[tuple[uuid.UUID, int, str]],
    *,
    max_crashes: int,
    error_ttl: float,
    over: Sequence[int] = (),
) -> int:
    """Rescue tasks whose child process has died, while their worker is alive; end those that have killed too many.

    :param lost: id, fence, and how the process died.
    :param over: the numbers of the claims whose last tasks these are.
    :returns: how many were still ours.
    """
    params = {
        **claims.parameters([fence for _, fence, _ in lost], over),
        "id": [id for id, _, _ in lost],
        "fence": [fence for _, fence, _ in lost],
        "reason": [text(reason, 10_000) for *_, reason in lost],
        "what": "process",
        "max_crashes": max_crashes,
        "error_ttl": error_ttl,
    }
    orphans, _back, _over, awaited, told = _act(connection, _LOSE, _LOST, params)[0]
    _tell(connection, awaited, told)
    return int(orphans)


def _tell(connection: BaseDatabaseWrapper, awaited: Sequence[uuid.UUID] | None, lost: str | None) -> None:
    if awaited:
        notify.tell_after_commit(connection, {notify.ended_channel(id): "" for id in awaited})
    for id, name, queue, reason, ended in json.loads(lost or "[]"):
        connection.on_commit(functools.partial(tell_lost, uuid.UUID(id), name, queue, reason, ended), robust=True)
