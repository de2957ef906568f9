"""The rows of model tasks: write there how a task ended, in the statement that records it.

The statements of :mod:`autotask.store.finish`, ``cancel``, ``rescue`` and others move a task to the results in a CTE ``kept``;
for tasks with rows, the ones of this module follow it. A row that somebody else has locked is left out: nobody waits for
the transaction of a stranger. The mender writes it later (:func:`mend`).
"""

import contextlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from django.db import DatabaseError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays
from autotask.store.connection import execute, rows
from autotask.store.errors import Trouble, trouble_of

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RowTable:
    """The table of a model whose rows are tasks.

    :ivar name: of the tasks.
    :ivar table: the quoted name of the table.
    :ivar has_steps: whether the tasks have more than one step.
    """

    name: str
    table: str
    has_steps: bool = True


#: By the names of their tasks. The models fill it when they are defined; it is empty on sites without model tasks.
tables: dict[str, RowTable] = {}

#: The columns that ``kept`` returns for the statements of this module.
RETURNING = "RETURNING id, name, state, attempt, started_at, ended_at, error_message"

#: The step that comes after those that have ended, and the times of these.
_STEPS = """
SELECT coalesce(max(s.number), 0) + 1 AS number,
       coalesce(jsonb_object_agg(s.number, jsonb_build_object('start', s.started_at, 'end', s.ended_at))
                FILTER (WHERE s.number IS NOT NULL), '{{}}') AS times
FROM autotask_step s WHERE s.task_id = {id} AND s.number > 0
"""

_FREE = "SELECT r.task_id FROM {table} r WHERE r.task_id = ANY(ARRAY({ids})) FOR NO KEY UPDATE SKIP LOCKED"

_SET = """
done_time = e.ended_at, success = e.state = 3, result = {result}, error_message = e.error_message,
current_step = steps.number, mod_time = clock_timestamp(),
step_times = steps.times || CASE WHEN e.started_at IS NULL OR e.attempt = 0 THEN '{{}}'::jsonb ELSE jsonb_build_object(
    steps.number, jsonb_build_object('start', e.started_at, 'end', e.ended_at)) END
"""


def written(some: Iterable[RowTable], source: str = "kept", results: bool = False) -> str:
    """Return CTEs that write to the rows of ended tasks how these ended; with a comma before each.

    :param source: a CTE with the columns of :data:`RETURNING`.
    :param results: whether there are parameters ``row_id`` and ``row_result`` with results as JSON.
    """
    result = "(SELECT w.value::jsonb FROM unnest(%(row_id)s::uuid[], %(row_result)s::text[]) AS w(id, value) WHERE w.id = e.id)"
    return "".join(
        f""",
free_{number} AS MATERIALIZED ({_FREE.format(table=each.table, ids=f"SELECT id FROM {source} WHERE name = {_literal(each.name)}")}),
row_{number} AS (
    UPDATE {each.table} r SET {_SET.format(result=result if results else "NULL")}
    FROM {source} e CROSS JOIN LATERAL ({_STEPS.format(id="e.id")}) AS steps
    WHERE r.task_id = e.id AND r.task_id = ANY(ARRAY(SELECT task_id FROM free_{number}))
    RETURNING r.task_id
)"""
        for number, each in enumerate(some)
    )


def written_one(table: RowTable) -> str:
    """Return the same as :func:`written` for a single task that is done: without arrays and joins, it takes half the time.

    It needs the parameters ``id`` and ``row_result``, the result as JSON or NULL.
    """
    steps = _STEPS.format(id="e.id") if table.has_steps else "SELECT 1 AS number, '{}'::jsonb AS times"
    return f""",
free_0 AS MATERIALIZED (
    SELECT FROM {table.table} r WHERE r.task_id = %(id)s::uuid AND EXISTS (SELECT FROM kept)
    FOR NO KEY UPDATE SKIP LOCKED
),
row_0 AS (
    UPDATE {table.table} r SET {_SET.format(result="%(row_result)s::jsonb")}
    FROM kept e CROSS JOIN LATERAL ({steps}) AS steps
    WHERE r.task_id = %(id)s::uuid AND EXISTS (SELECT FROM free_0)
    RETURNING r.task_id
)"""


def stepped(table: RowTable, source: str) -> str:
    """Return CTEs that write to the rows of tasks which step comes next; with a comma before each.

    :param source: a CTE with the columns ``id``, ``number``, ``started_at`` and ``ended_at`` of the steps that have ended.
    """
    return f""",
free AS MATERIALIZED ({_FREE.format(table=table.table, ids=f"SELECT id FROM {source}")}),
stepped AS (
    UPDATE {table.table} r
    SET current_step = e.number + 1, mod_time = clock_timestamp(),
        step_times = coalesce(r.step_times, '{{}}') || jsonb_build_object(
            e.number, jsonb_build_object('start', e.started_at, 'end', e.ended_at))
    FROM {source} e WHERE r.task_id = e.id AND r.task_id = ANY(ARRAY(SELECT task_id FROM free))
)"""


def back(some: Iterable[RowTable], source: str) -> str:
    """Return CTEs that make the rows of ended tasks unfinished again; with a comma before each.

    :param source: a CTE with the columns ``id`` and ``name`` of tasks that are live again.
    """
    return "".join(
        f""",
free_{number} AS MATERIALIZED ({_FREE.format(table=each.table, ids=f"SELECT id FROM {source} WHERE name = {_literal(each.name)}")}),
row_{number} AS (
    UPDATE {each.table} r
    SET done_time = NULL, success = NULL, result = NULL, error_message = '', mod_time = clock_timestamp()
    WHERE r.task_id = ANY(ARRAY(SELECT task_id FROM free_{number}))
)"""
        for number, each in enumerate(some)
    )


def act_with(connection: BaseDatabaseWrapper, act: Callable[[str], R], more: str) -> R:
    """Run a statement that also writes rows; without these if they cannot be written, as where a table is missing.

    No task depends on the tables of others: the mender writes the rows later.

    :param act: runs the statement with the CTEs that it is given.
    :param more: those that write rows; "" if there are none.
    """
    if not more:
        return act("")
    try:
        with transaction.atomic(using=connection.alias) if connection.in_atomic_block else contextlib.nullcontext():
            return act(more)
    except DatabaseError as error:
        if trouble_of(error) not in (Trouble.REFUSED, Trouble.DOUBTFUL):
            raise
    return act("")


def of(connection: BaseDatabaseWrapper, id: uuid.UUID, table: str = "autotask_task") -> Sequence[RowTable]:
    """Return the table of the row of a task, as a sequence of none or one.

    :param table: where the task is.
    """
    if not tables:
        return ()
    found = rows(connection, f"SELECT name FROM {table} WHERE id = %(id)s", {"id": id})
    return [tables[name] for (name,) in found if name in tables]


def _literal(name: str) -> str:
    # The name of a model is an identifier, and so has neither quotes nor per cent signs.
    return f"'{name}'"


class ChannelSize(NamedTuple):
    """The live tasks of a model in one queue."""

    queue: str
    waiting: int
    running: int


SIZES = """
SELECT queue, count(*) FILTER (WHERE state <> 2), count(*) FILTER (WHERE state = 2)
FROM (SELECT queue, state FROM autotask_live WHERE name = %(name)s LIMIT %(most)s) AS live
GROUP BY queue ORDER BY queue
"""


def sizes(connection: BaseDatabaseWrapper, name: str, most: int) -> list[ChannelSize]:
    """Return the sizes of the queues with live tasks of one name.

    :param most: the most tasks that are counted.
    """
    return [ChannelSize(*row) for row in rows(connection, SIZES, {"name": name, "most": most})]


# --- the mender -------------------------------------------------------------------------------------------------------


class Overdue(NamedTuple):
    """A row that does not say that its task has ended.

    :ivar ended: whether the task has a result; False: it is in neither table.
    :ivar value: its signed result.
    """

    id: uuid.UUID
    ended: bool
    fence: int
    value: bytes | None


# One snapshot: a task moves between the tables, and is inserted with its row, in one transaction.
OVERDUE = """
SELECT r.task_id, e.id IS NOT NULL, coalesce(e.fence, 0), CASE WHEN e.state = 3 THEN e.value END
FROM {table} r LEFT JOIN autotask_result e ON e.id = r.task_id
WHERE r.done_time IS NULL AND r.task_id IS NOT NULL AND r.task_id <> ALL(%(spared)s::uuid[])
  AND NOT EXISTS (SELECT 1 FROM autotask_task t WHERE t.id = r.task_id)
LIMIT %(limit)s
"""

# Under the current name of the table, since the task may have ended under a former name of its model.
_MEND = f"""
WITH kept AS (
    SELECT {RETURNING.removeprefix("RETURNING ").replace("name", "%(name)s::text AS name")}
    FROM autotask_result WHERE id = ANY(%(ids)s::uuid[])
)"""

# The task may have been retried, or its row started again, since the row was found.
GIVE_UP = """
WITH free AS MATERIALIZED (
    SELECT r.task_id FROM {table} r WHERE r.task_id = ANY(%(ids)s::uuid[]) AND r.done_time IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {table} r
SET done_time = clock_timestamp(), success = false, error_message = %(message)s, mod_time = clock_timestamp()
WHERE r.task_id = ANY(ARRAY(SELECT task_id FROM free))
  AND NOT EXISTS (SELECT 1 FROM autotask_task t WHERE t.id = r.task_id)
  AND NOT EXISTS (SELECT 1 FROM autotask_result e WHERE e.id = r.task_id)
"""

#: The message of a row whose task is in neither table.
GONE = "its task is not in the database any more, and nobody knows how it ended"


def overdue(
    connection: BaseDatabaseWrapper, table: RowTable, limit: int, spared: Sequence[uuid.UUID] = ()
) -> list[Overdue]:
    """Return rows that do not say that their tasks have ended.

    :param spared: the tasks of rows to leave alone.
    """
    params = {"limit": limit, "spared": arrays.uuids(spared)}
    found = rows(connection, OVERDUE.format(table=table.table), params)
    return [Overdue(id, ended, fence, None if value is None else bytes(value)) for id, ended, fence, value in found]


def mend(
    connection: BaseDatabaseWrapper, table: RowTable, ids: Sequence[uuid.UUID], results: Mapping[uuid.UUID, str]
) -> int:
    """Write to rows how their tasks ended, and return how many were not locked.

    :param results: those of tasks that are DONE, as JSON.
    """
    sql = f"{_MEND}{written([table], results=True)}\nSELECT count(*) FROM row_0"
    return int(rows(connection, sql, {"ids": list(ids), "name": table.name, **result_parameters(results)})[0][0])


def give_up(connection: BaseDatabaseWrapper, table: RowTable, ids: Sequence[uuid.UUID]) -> int:
    """Write to rows that nobody knows how their tasks ended."""
    return execute(connection, GIVE_UP.format(table=table.table), {"ids": list(ids), "message": GONE})


def result_parameters(results: Mapping[uuid.UUID, str]) -> dict[str, str]:
    """Return the parameters for results as JSON, see :func:`written`."""
    return {"row_id": arrays.uuids(results), "row_result": arrays.texts(results.values())}
