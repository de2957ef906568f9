"""End held tasks whose time has passed, at whichever gate they wait: for other tasks, the worker that claims them does that."""

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import cancel, marks, model_rows

#: The most tasks that one statement ends.
PIECE = 500

# A locked one is being let through or cancelled: it is left out, and looked at again if it still waits.
_GONE = f"""
WITH gone AS (
    DELETE FROM autotask_task t
    WHERE t.id = ANY(ARRAY(
        SELECT t.id FROM autotask_task t
        WHERE t.state = 8 AND t.expires_at IS NOT NULL AND t.expires_at <= statement_timestamp()
        ORDER BY t.expires_at LIMIT {PIECE} FOR UPDATE SKIP LOCKED
    ))
    RETURNING t.*
),
kept AS ({cancel.kept("gone", error_message="'expired: it was held for longer than its time'")} {model_rows.RETURNING}),
marked AS ({marks.freed("gone")})"""

#: The seconds until the first of them expires; NULL: none does. A part of another statement.
UNTIL_NEXT = """
SELECT extract(epoch FROM t.expires_at - statement_timestamp())::float8 FROM autotask_task t
WHERE t.state = 8 AND t.expires_at IS NOT NULL ORDER BY t.expires_at LIMIT 1
"""


def end(connection: BaseDatabaseWrapper) -> int:
    """End up to :data:`PIECE` held tasks that have expired, as CANCELLED; return how many."""
    return cancel.end_held(connection, _GONE)
