"""Put a finished task back in the queue, for the retry button."""

import contextlib
import uuid

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import claims, columns, held, model_rows, ready
from autotask.store.connection import rows
from autotask.task import REMOTE

# The id stays, so handles and the signature of the payload stay valid; the counts of failures and deaths start again.
# It takes its unique key again, if that is free, and has to pass its gates again. Its expiry is dropped: a retried task is
# wanted now.
_TAKEN = f"SELECT t.id FROM autotask_task t WHERE t.unique_key = r.flow ->> 'unique' AND {columns.HAS_KEY}"

# One that waits for a client from outside passes its gates later: as in autotask.store.marks.
_FIRST = f"""SELECT key, key IS NULL OR executor = '{REMOTE}' AS passes FROM (SELECT flow->'gates'->0->>'key' AS key) AS gate"""

_BACK = f"""
WITH gone AS (
    DELETE FROM autotask_result r
    WHERE id = %(id)s AND state IN (4, 5) AND payload IS NOT NULL AND NOT EXISTS ({_TAKEN})
    RETURNING *
)
,
back AS (
{
    columns.insert(
        "autotask_task",
        f"gone CROSS JOIN LATERAL ({_FIRST}) AS first",
        columns.KEPT,
        state="CASE WHEN %(delay)s::float8 > 0 THEN 0 WHEN first.passes THEN 1 ELSE 8 END",
        run_at="clock_timestamp() + %(delay)s::float8 * interval '1 s'",
        ready_at="CASE WHEN %(delay)s::float8 <= 0 AND first.passes THEN clock_timestamp() END",
        gate="first.key",
        passed="CASE WHEN first.key IS NOT NULL THEN 0 END",
        unique_key="flow ->> 'unique'",
        flow=f"flow - '{columns.WHY}'",
    )
}
RETURNING {held.RETURNED}, name
),
come AS ({ready.come("back")}),
taken_out AS ({claims.taken_out("back")}),
{held.waiting("back")}"""

HOLDER = f"SELECT r.flow ->> 'unique', taken.id FROM autotask_result r, LATERAL ({_TAKEN}) AS taken WHERE r.id = %(id)s"


def requeue(connection: BaseDatabaseWrapper, id: uuid.UUID, delay: float = 0.0) -> bool:
    """Make a task that failed or was cancelled run again.

    :param delay: seconds until it is due.
    :returns: False for a task that is live, DONE or pruned, or whose unique key another one has: see :func:`holder`.
    """
    back = model_rows.back(model_rows.of(connection, id, "autotask_result"), "back")

    def act(more: str) -> bool:
        return bool(rows(connection, f"{_BACK}{more}\nSELECT id FROM back", {"id": id, "delay": delay}))

    try:
        # Outside of a transaction the statement is one of its own.
        nested = connection.in_atomic_block or not connection.get_autocommit()
        with transaction.atomic(using=connection.alias) if nested else contextlib.nullcontext():
            return model_rows.act_with(connection, act, back)
    except IntegrityError:  # somebody has taken its key, or retried it, since the statement began
        return False


def holder(connection: BaseDatabaseWrapper, id: uuid.UUID) -> tuple[str, uuid.UUID] | None:
    """Return the unique key of a finished task, and the live one that has it; None if there is none."""
    found = rows(connection, HOLDER, {"id": id})
    return (found[0][0], found[0][1]) if found else None
