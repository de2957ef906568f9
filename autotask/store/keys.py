"""API keys: store, find, list and revoke them, and note their use. The secrets themselves are nowhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, in_utc, rows, text


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key without its secret.

    :ivar digest: the SHA-256 of the secret, in hexadecimal digits.
    :ivar used_at: about when it was used last, to the minute; None: never.
    :ivar is_valid: whether it is neither revoked nor expired.
    :ivar is_noted: whether its use was noted within the last minute.
    """

    id: int
    name: str
    digest: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    is_valid: bool
    is_noted: bool


#: Seconds for which a use of a key counts as noted: its row is written at most that often.
NOTED = 60

IS_VALID = "k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp())"

_KEY = f"""
SELECT k.id, k.name, k.digest, k.scopes, k.created_at AT TIME ZONE 'UTC', k.expires_at AT TIME ZONE 'UTC',
       k.used_at AT TIME ZONE 'UTC', k.revoked_at AT TIME ZONE 'UTC', {IS_VALID},
       coalesce(k.used_at > statement_timestamp() - interval '{NOTED} s', false)
FROM autotask_api_key k
"""

FIND = f"{_KEY} WHERE k.id = %(id)s"

LIST = f"{_KEY} ORDER BY k.id"

# Nothing happens if a valid key has the name: two keys that cannot be told apart could not be revoked one by one. One that
# has expired makes room.
RETIRE = """
UPDATE autotask_api_key SET revoked_at = expires_at
WHERE name = %(name)s AND revoked_at IS NULL AND expires_at <= statement_timestamp()
"""
INSERT = """
INSERT INTO autotask_api_key (name, digest, scopes, created_at, expires_at)
VALUES (%(name)s, %(digest)s, %(scopes)s, clock_timestamp(), %(expires_at)s)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id
"""

REVOKE = """
UPDATE autotask_api_key SET revoked_at = clock_timestamp() WHERE name = %(name)s AND revoked_at IS NULL RETURNING id
"""

# Only a few requests in the same moment see an old use; those that find the row locked need not wait to write the same. The
# commit does not wait for the disk.
NOTE = f"""
UPDATE autotask_api_key SET used_at = statement_timestamp()
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE id = (SELECT id FROM autotask_api_key WHERE id = %(id)s FOR NO KEY UPDATE SKIP LOCKED)
  AND (used_at IS NULL OR used_at <= statement_timestamp() - interval '{NOTED} s')
"""


def find(connection: BaseDatabaseWrapper, id: int) -> StoredKey | None:
    """Return a key; None if there is none with that id."""
    found = rows(connection, FIND, {"id": id})
    return _stored(found[0]) if found else None


def all_keys(connection: BaseDatabaseWrapper) -> list[StoredKey]:
    """Return all keys, oldest first, also those that are no longer valid."""
    return [_stored(row) for row in rows(connection, LIST)]


def insert(
    connection: BaseDatabaseWrapper, name: str, digest: str, scopes: list[str], expires_at: datetime | None
) -> int | None:
    """Store a key, and return its id; None if a valid one has that name."""
    params = {"name": text(name, 200), "digest": digest, "scopes": scopes, "expires_at": expires_at}
    execute(connection, RETIRE, params)
    made = rows(connection, INSERT, params)
    return int(made[0][0]) if made else None


def revoke(connection: BaseDatabaseWrapper, name: str) -> int | None:
    """Revoke the key of that name, and return its id; None if there is none."""
    revoked = rows(connection, REVOKE, {"name": name})
    return int(revoked[0][0]) if revoked else None


def note_use(connection: BaseDatabaseWrapper, id: int) -> None:
    """Note that a key is used now, unless that was done within the last minute."""
    execute(connection, NOTE, {"id": id})


def _stored(row: tuple[Any, ...]) -> StoredKey:
    id, name, digest, scopes, created, expires, used, revoked, is_valid, is_noted = row
    moments = (in_utc(created), in_utc(expires), in_utc(used), in_utc(revoked))
    return StoredKey(id, name, digest, tuple(scopes), *moments, is_valid, is_noted)
