"""Find and release the tasks that a worker has claimed without its knowledge."""

import uuid
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, columns, held, marks, ready
from autotask.store.claim import refusals
from autotask.store.connection import rows
from autotask.store.isolation import Refusals

# Claims that are made in this worker's name without its knowledge: their claim got no answer, or the process that stored them as
# claimed by this worker died before handing them over; or all their tasks have ended, and nobody has deleted them.
# Followers without a slot wait at their gates again. The tasks of background workers are reconciled by these. A claim that
# somebody has locked, as by a step that is kept in a long transaction, is left for the next look.
_FORGOTTEN = f"""
SELECT c.number, c.at, c.ids FROM autotask_claim c
WHERE c.worker_id = %(worker_id)s::uuid AND (NOT c.number = ANY(%(claims)s::bigint[]) OR EXISTS (
    SELECT FROM unnest(c.ids) WITH ORDINALITY AS u(id, place) JOIN autotask_task t ON t.id = u.id
    WHERE NOT {claims.FENCE} = ANY(%(held)s::bigint[])
))
"""

_ITS_TASKS = "CROSS JOIN LATERAL unnest(f.ids) WITH ORDINALITY AS u(id, place) JOIN autotask_task t ON t.id = u.id"

_MEANT = (
    f"NOT {claims.FENCE} = ANY(%(held)s::bigint[]) AND t.executor <> 'background' AND t.id <> ALL(%(spared)s::uuid[])"
)

RECONCILE = f"""
WITH forgotten AS MATERIALIZED ({_FORGOTTEN} ORDER BY c.number FOR UPDATE SKIP LOCKED),
meant AS MATERIALIZED (SELECT t.id, f.number, f.at FROM forgotten f {_ITS_TASKS} WHERE {_MEANT} {{these}}),
released AS (
    UPDATE autotask_task t
    SET state = CASE WHEN {marks.FOLLOWS} THEN 8 ELSE 1 END,
        ready_at = CASE WHEN NOT {marks.FOLLOWS} THEN {ready.again_at("meant.at")} END, unique_key = {columns.KEY_AGAIN},
        started_at = meant.at
    FROM meant WHERE t.id = ANY(ARRAY(SELECT id FROM meant)) AND t.id = meant.id
    RETURNING {held.RETURNING}
),
come AS ({ready.come("released")}),
{held.waiting("released")},
kept AS MATERIALIZED (
    SELECT DISTINCT f.number FROM forgotten f {_ITS_TASKS} WHERE t.id <> ALL(ARRAY(SELECT id FROM meant))
),
over AS (
    DELETE FROM autotask_claim c WHERE c.number = ANY(ARRAY(SELECT number FROM forgotten EXCEPT SELECT number FROM kept))
),
left_over AS (
    UPDATE autotask_claim c SET ids = {claims.without("SELECT id FROM meant")}
    WHERE c.number = ANY(ARRAY(SELECT number FROM kept INTERSECT SELECT number FROM meant))
)
SELECT id FROM released
"""

UNKNOWN_TO_WORKER = f"SELECT t.id FROM ({_FORGOTTEN}) AS f {_ITS_TASKS} WHERE {_MEANT}"


def unknown(connection: BaseDatabaseWrapper, worker_id: uuid.UUID, held: Sequence[int]) -> list[uuid.UUID]:
    """Return the ids of the tasks that run under this worker's name but are not held by it; the word of some may be on its way.

    :param held: the fences of its tasks.
    """
    return [id for (id,) in rows(connection, UNKNOWN_TO_WORKER, _of_worker(worker_id, held, []))]


def reconcile(
    connection: BaseDatabaseWrapper,
    worker_id: uuid.UUID,
    held: Sequence[int],
    *,
    among: Sequence[uuid.UUID] | None = None,
    refused: Refusals[uuid.UUID] | None = None,
) -> list[uuid.UUID]:
    """Release the tasks that run under this worker's name but are not held by it, and return their ids.

    :param held: the fences of its tasks.
    :param among: no others are released; None: any.
    :param refused: as for :func:`autotask.store.claim.claim`.
    """
    refused = refusals() if refused is None else refused
    params = _of_worker(worker_id, held, refused.spared())
    these = "" if among is None else f"AND t.id = {arrays.any_of(among)}"

    def release(these: str) -> list[uuid.UUID]:
        return [id for (id,) in rows(connection, RECONCILE.format(these=these), params)]

    parts = refused.run_found(
        lambda: release(these),
        lambda: [id for (id,) in rows(connection, f"{UNKNOWN_TO_WORKER} {these}", params)],
        lambda ids: release(f"AND t.id = {arrays.any_of(ids)}"),
    )
    return [id for part in parts for id in part]


def _of_worker(worker_id: uuid.UUID, held: Sequence[int], spared: Sequence[uuid.UUID]) -> dict[str, Any]:
    """Return the parameters about the tasks that run under the name of a worker."""
    return {
        "worker_id": worker_id,
        "claims": claims.numbers(held),
        "held": arrays.numbers(held),
        "spared": spared,
    }
