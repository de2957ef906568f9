"""Write the progress that running tasks report, and read it."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.context import Progress
from autotask.store import arrays, claims
from autotask.store.connection import rows
from autotask.task import State

# While a task runs, a locked row is skipped: a newer value will come. At the end of the task the row is waited for, as the
# outcome has to wait for it too.
NOTE = f"""
WITH claim AS MATERIALIZED (SELECT number, ids FROM autotask_claim WHERE number = ANY(%(claims)s::bigint[])),
free AS MATERIALIZED (
    SELECT t.id, n.fence, n.done, n.total
    FROM unnest(%(id)s::uuid[], %(fence)s::bigint[], %(done)s::float8[], %(total)s::float8[]) AS n(id, fence, done, total)
    {claims.in_force("n.fence", "n.id")}
    JOIN autotask_task t ON t.id = n.id
    WHERE t.id = ANY(%(id)s::uuid[])
    FOR NO KEY UPDATE OF t {{locked}}
)
UPDATE autotask_task t SET progress_done = free.done, progress_total = free.total
FROM free WHERE t.id = free.id
RETURNING t.id, free.fence
"""

#: A claim: id and fence.
Claim = tuple[uuid.UUID, int]


def note(connection: BaseDatabaseWrapper, reports: Mapping[Claim, Progress], *, wait: bool = False) -> set[Claim]:
    """Write progress into the rows of running tasks, if their claims are still ours.

    :param wait: whether to wait for locked rows.
    :returns: the claims whose rows were written; the others are locked, or no longer ours.
    """
    params = {
        "claims": claims.numbers(fence for _, fence in reports),
        "id": [id for id, _ in reports],
        "fence": [fence for _, fence in reports],
        "done": [progress.done for progress in reports.values()],
        "total": [progress.total for progress in reports.values()],
    }
    statement = NOTE.format(locked="" if wait else "SKIP LOCKED")
    return {(id, fence) for id, fence in rows(connection, statement, params)}


SEEN = """
SELECT id, state, progress_done, progress_total FROM autotask_live WHERE id = ANY(%(ids)s::uuid[])
UNION ALL
SELECT id, state, progress_done, progress_total FROM autotask_result WHERE id = ANY(%(ids)s::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """The progress of a task; *progress* is None if it has reported none."""

    state: State
    progress: Progress | None


def seen(connection: BaseDatabaseWrapper, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Seen]:
    """Return the progress of those tasks that exist."""
    found = rows(connection, SEEN, {"ids": arrays.uuids(ids)}) if ids else []
    return {id: Seen(State(state), None if done is None else Progress(done, total)) for id, state, done, total in found}
