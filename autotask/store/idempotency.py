"""The idempotency keys of requests, each with the task that its first request made."""

import uuid

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import rows

FIND = """
SELECT fingerprint, task_id FROM autotask_idempotency_key
WHERE caller = %(caller)s AND key = %(key)s AND until > statement_timestamp()
"""

# Each new key takes away some old ones, so nothing else has to. With IN, the subquery might run once for each row of the table, and
# give ten more each time (findings/limit_1_claims_the_whole_backlog.sh). A transaction that stores the same key at the same moment
# is waited for; then one of them has no row.
KEEP = """
WITH old AS (
    DELETE FROM autotask_idempotency_key
    WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM autotask_idempotency_key
        WHERE until <= statement_timestamp() AND (caller, key) <> (%(caller)s, %(key)s)
        ORDER BY until LIMIT 10 FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO autotask_idempotency_key AS known (caller, key, fingerprint, task_id, until)
VALUES (%(caller)s, %(key)s, %(fingerprint)s, %(task_id)s, statement_timestamp() + %(seconds)s * interval '1 s')
ON CONFLICT (caller, key) DO UPDATE
SET fingerprint = excluded.fingerprint, task_id = excluded.task_id, until = excluded.until
WHERE known.until <= statement_timestamp()
RETURNING task_id
"""


def find(connection: BaseDatabaseWrapper, caller: str, key: str) -> tuple[str, uuid.UUID] | None:
    """Return the fingerprint of the request with a key, and the id of its task; None if there was none."""
    found = rows(connection, FIND, {"caller": caller, "key": key})
    return (str(found[0][0]), found[0][1]) if found else None


def keep(
    connection: BaseDatabaseWrapper, caller: str, key: str, fingerprint: str, task_id: uuid.UUID, seconds: float
) -> bool:
    """Remember a key for some seconds, and return whether nobody else has done so."""
    params = {"caller": caller, "key": key, "fingerprint": fingerprint, "task_id": task_id, "seconds": seconds}
    return bool(rows(connection, KEEP, params))
