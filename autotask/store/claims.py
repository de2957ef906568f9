"""Claims: one row for each batch of tasks that a worker has claimed together; the rows of the tasks stay as they are.

The fence of a task names its claim, and the place of the task there: an outcome is accepted only if the claim is still in
force, and the task in it. A statement that ends a task leaves its id in the claim, and deletes the claim with its last
task: a task that is no longer in any table does not run. A statement that puts a task back takes its id out.
"""

import uuid
from collections.abc import Iterable, Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute

#: The bits of a fence that are the place of a task in its claim, from 0; the others are the number of the claim.
PLACE_BITS = 10

#: The most tasks in one claim: the ids fit into a row that is not stored out of line.
MOST = 400

#: The fence of the task at the place *place*, counted from 1, of the claim with the number *number*.
FENCE = f"(number << {PLACE_BITS}) + place - 1"

#: Makes one claim of the tasks that ``gone`` has returned, if there are any. It needs the parameter ``worker_id``.
MADE = """made AS (
    INSERT INTO autotask_claim (number, worker_id, at, ids)
    SELECT nextval('autotask_fence'), %(worker_id)s::uuid, clock_timestamp(), array_agg(id) FROM gone HAVING count(*) > 0
    RETURNING number, at, ids
)"""

#: Reads the tasks of that claim: ``t``, with its ``number``, ``place`` and ``at``.
MADE_TASKS = """
FROM made CROSS JOIN LATERAL unnest(made.ids) WITH ORDINALITY AS u(id, place) JOIN autotask_task t ON t.id = u.id
WHERE t.id = ANY(ARRAY(SELECT unnest(ids) FROM made))"""

#: Whether a task ``t`` runs, for lists in the order of an index: the view of live tasks is a join, which would not keep it.
RUNS = "CASE WHEN t.state <> 0 THEN t.id IN (SELECT id FROM autotask_running) ELSE false END"

#: The state of a task ``t``, in the same way.
STATE = f"CASE WHEN {RUNS} THEN 2::smallint ELSE t.state END"


def number(fence: int) -> int:
    """Return the number of the claim to which a fence belongs."""
    return fence >> PLACE_BITS


def numbers(fences: Iterable[int]) -> str:
    """Return the numbers of the claims of some fences, as a parameter."""
    return arrays.numbers(sorted({fence >> PLACE_BITS for fence in fences}))


def locked(lock: str) -> str:
    """Return the CTE ``claim``, which locks claims before their tasks, and in the order of their numbers.

    It needs the parameter ``claims``, see :func:`parameters`.

    :param lock: SHARE to end tasks, NO KEY UPDATE to put them back: then each waits for the other.
    """
    return f"""claim AS MATERIALIZED (
    SELECT number, worker_id, at, ids FROM autotask_claim WHERE number = ANY(%(claims)s::bigint[]) ORDER BY number FOR {lock}
)"""


def unlocked(statement: str) -> str:
    """Return a statement without the locks of claims, for a transaction that sees a snapshot.

    Such a transaction cannot lock a claim from which another task was taken since it began. It need not: a statement that puts
    the task itself back, or ends it, changes its row, so ending it here fails as a conflict.
    """
    return statement.replace("ORDER BY number FOR SHARE", "")


def in_force(fence: str, id: str, alias: str = "c") -> str:
    """Return a join with the CTE ``claim`` that leaves of tasks those whose claims are in force.

    CASE, since the planner would expect a plain condition to leave nearly none of them, and read the tasks again for each.

    :param fence: the expressions for fence and id of the tasks.
    """
    return f"""JOIN claim {alias}
    ON CASE WHEN {alias}.number = {fence} >> {PLACE_BITS} THEN {alias}.ids[{place(fence)}] = {id} ELSE false END"""


def place(fence: str) -> str:
    """Return an expression for the place in a claim, counted from 1, that a fence names."""
    return f"({fence} & {2**PLACE_BITS - 1})::int + 1"


def without(ids: str) -> str:
    """Return an expression for the ids of a claim ``c`` without some, which leave their places empty.

    :param ids: a statement that returns them.
    """
    return f"""ARRAY(
    SELECT CASE WHEN u.id = ANY(ARRAY({ids})) THEN NULL ELSE u.id END
    FROM unnest(c.ids) WITH ORDINALITY AS u(id, place) ORDER BY u.place
)"""


def over(source: str) -> str:
    """Return the CTE ``claims_over``, which deletes the claims that are over.

    These are the claims of one task, and those of which their worker knows, by the parameter ``over``, that all tasks end with
    this statement, or have ended before.

    :param source: a CTE with the ids of the tasks that end.
    """
    return f"""claims_over AS (
    DELETE FROM autotask_claim
    WHERE number = ANY(%(over)s::bigint[])
       OR number = ANY(ARRAY(SELECT number FROM claim WHERE cardinality(ids) = 1 AND ids[1] IN (SELECT id FROM {source})))
)"""


def put_back(source: str) -> str:
    """Return CTEs that delete the claims that are over, and take tasks that were put back out of the others.

    :param source: a CTE with the ids of these tasks.
    """
    return f"""{over(source)},
left_over AS (
    UPDATE autotask_claim c SET ids = {without(f"SELECT id FROM {source}")}
    WHERE c.number = ANY(ARRAY(SELECT number FROM claim WHERE cardinality(ids) > 1)) AND c.number <> ALL(%(over)s::bigint[])
)"""


def taken_out(source: str) -> str:
    """Return a statement that takes tasks that had ended, and live again, out of the claim in which they have ended.

    :param source: a CTE with the ids of these tasks.
    """
    ids = f"SELECT id FROM {source}"
    return f"UPDATE autotask_claim c SET ids = {without(ids)} WHERE c.ids && ARRAY({ids})"


#: Locks the claims in which tasks that will live again have ended, before these, and in the order of their numbers.
LOCK = "SELECT FROM autotask_claim WHERE ids && %(ids)s::uuid[] ORDER BY number FOR NO KEY UPDATE"


def lock(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> None:
    """Lock the claims of tasks that one transaction lets live again, for those that are several."""
    execute(connection, LOCK, {"ids": arrays.uuids(ids)})


def parameters(fences: Sequence[int], over: Iterable[int] = ()) -> dict[str, str]:
    """Return the parameters that name the claims of some fences.

    :param over: the numbers of those that are over then.
    """
    return {"claims": numbers(fences), "over": arrays.numbers(list(over))}
