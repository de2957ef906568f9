"""What the database can tell of its own health."""

from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, notify
from autotask.store.connection import aware, execute, rows

_CHANNEL = "autotask_doctor"

# Any transaction of this database that has a snapshot or has written something keeps what was deleted since it began.
# That of a vacuum does not. The text of the query is left out: it may hold what is secret.
# Whoever is neither superuser nor in pg_read_all_stats sees only the sessions of his own role.
OLD_TRANSACTIONS = """
SELECT pid, application_name, xact_start, query_start, extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
  AND xact_start < clock_timestamp() - %(seconds)s * interval '1 s'
ORDER BY xact_start
"""

# What each of the statements of a site and its workers needs. That a table's own numbers are from a sequence, too, needs no
# right: it is an identity column.
MISSING_RIGHTS = """
SELECT min(current_user::text), array_agg(needed.what || ' ON ' || needed.on_what ORDER BY needed.place, needed.what)
FROM (
    SELECT right_.name AS what, 'TABLE ' || t.name AS on_what, t.place,
           has_table_privilege(t.name, right_.name) AS granted
    FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS t(name, place)
    CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS right_(name)
    UNION ALL SELECT 'SELECT', 'TABLE autotask_record', 98, has_table_privilege('autotask_record', 'SELECT')
    UNION ALL SELECT 'USAGE', 'SEQUENCE autotask_fence', 99, has_sequence_privilege('autotask_fence', 'USAGE')
) AS needed
WHERE NOT needed.granted
"""

_TABLES = ["autotask_task", "autotask_result", "autotask_attempt", "autotask_worker", "autotask_schedule"]

WHERE = "SELECT current_database(), current_setting('server_version')"


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """A transaction that holds back vacuum; *query_start* is when its last statement began, *age* is in seconds."""

    pid: int
    application: str
    began: datetime
    query_start: datetime
    age: float


def where(connection: BaseDatabaseWrapper) -> tuple[str, str]:
    """Return the name of the database and the version of the server."""
    name, version = rows(connection, WHERE)[0]
    return name, version


def missing_rights(connection: BaseDatabaseWrapper) -> tuple[str, list[str]]:
    """Return the role of the connection, and the rights that it lacks, as a GRANT names them."""
    role, missing = rows(connection, MISSING_RIGHTS, {"tables": arrays.texts(_TABLES)})[0]
    return role or "", missing or []


def old_transactions(connection: BaseDatabaseWrapper, seconds: float) -> list[OldTransaction]:
    """Return the transactions that hold back vacuum for more than so many seconds, oldest first."""
    return [
        OldTransaction(pid, application or "", aware(began), aware(query), age)
        for pid, application, began, query, age in rows(connection, OLD_TRANSACTIONS, {"seconds": seconds})
    ]


def hears(connection: BaseDatabaseWrapper) -> bool:
    """Whether LISTEN on this connection hears a NOTIFY; what a session sends itself is there before the answer."""
    ear = notify.Ear(connection, _CHANNEL)
    try:
        execute(connection, f"NOTIFY {_CHANNEL}")
        return ear.heard()
    finally:
        ear.close()
