"""End held tasks whose time has passed, at whichever gate they wait: for other tasks, the worker that claims them does that."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import cancel, held, marks, model_rows

#: The most tasks that one statement ends.
PIECE = 500

_IS_OVER = "h.expires_at IS NOT NULL AND h.expires_at <= statement_timestamp()"

# A locked one is being let through or cancelled: it is left out, and looked at again if it still waits.
_GONE = f"""
WITH late AS MATERIALIZED (
    {held.locked(_IS_OVER, str(PIECE), order="h.expires_at", lock="UPDATE")}
),
taken AS (DELETE FROM autotask_held WHERE ctid = ANY(ARRAY(SELECT address FROM late))),
gone AS (DELETE FROM autotask_task t WHERE t.id = ANY(ARRAY(SELECT id FROM late)) RETURNING t.*),
kept AS ({cancel.kept("gone", error_message="'expired: it was held for longer than its time'")} {model_rows.RETURNING}),
marked AS ({marks.freed("gone")})"""

#: The seconds until the first of them expires; NULL: none does. A part of another statement.
UNTIL_NEXT = """
SELECT extract(epoch FROM h.expires_at - statement_timestamp())::float8 FROM autotask_held h
WHERE h.expires_at IS NOT NULL ORDER BY h.expires_at LIMIT 1
"""


def end(connection: BaseDatabaseWrapper) -> int:
    """End up to :data:`PIECE` held tasks that have expired, as CANCELLED; return how many."""
    return cancel.end_held(connection, _GONE)
