"""Past tasks: what is kept of a task after its result is gone, without arguments and result."""

import uuid
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import aware, execute, rows
from autotask.task import State

#: The most tasks that are kept.
MOST = 100_000

#: The most that one statement deletes.
PIECE = 5_000

#: Characters kept of an error.
LONGEST_ERROR = 300

# Each moved column costs a little for each task that is pruned.
_MOVED = "id, state, queue, priority, name, created_at, run_at, started_at, ended_at"
_COUNTED = "attempt, failures, lost, retries, schedule, tags, subject"

#: The columns that pruning returns of the results that it deletes.
RETURNED = f"{_MOVED}, {_COUNTED}, left(error_message, {LONGEST_ERROR}) AS error_message"

#: Keeps those tasks. The same id may be there already, if rows were restored from a backup.
KEEP = f"""
past AS (
    INSERT INTO autotask_history ({_MOVED}, {_COUNTED}, error_message, gone_at)
    SELECT {_MOVED}, {_COUNTED}, error_message, statement_timestamp() FROM results
    ON CONFLICT DO NOTHING
)
"""

# A table of a few megabytes. It has no index by time, which each pruned task would pay for.
TRIM = """
DELETE FROM autotask_history WHERE id = ANY(ARRAY(
    SELECT id FROM autotask_history
    WHERE gone_at <= statement_timestamp() - %(keep)s * interval '1 s'
       OR id < (SELECT id FROM autotask_history ORDER BY id DESC OFFSET %(most)s - 1 LIMIT 1)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""

READ = "SELECT name, state, ended_at, error_message FROM autotask_history WHERE id = %(id)s"


class Past(NamedTuple):
    """The end of a past task."""

    name: str
    state: State
    ended_at: datetime
    error_message: str


def trim(connection: BaseDatabaseWrapper, keep: float, most: int = MOST) -> bool:
    """Delete the past tasks that are not to be kept any longer, and the oldest ones beyond a number.

    :param keep: seconds since their results were pruned; 0: keep none.
    :returns: whether there may be more to delete.
    """
    return execute(connection, TRIM, {"keep": keep, "most": most, "limit": PIECE}) == PIECE


def read(connection: BaseDatabaseWrapper, id: uuid.UUID) -> Past | None:
    """Return the end of a past task; None if nothing is known of it."""
    found = rows(connection, READ, {"id": id})
    if not found:
        return None
    name, state, ended, error = found[0]
    return Past(name, State(state), aware(ended), error)
