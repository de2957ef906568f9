"""What the database can tell of its own health."""

from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import notify
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

# Everybody sees what the sessions of the own role wait for. By the role and not by the process id, which a pooler hides.
WAITS_FOR_STANDBY = """
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND usename = session_user AND wait_event = 'SyncRep'
)
"""

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


def waits_for_standby(connection: BaseDatabaseWrapper) -> bool:
    """Whether a session of this role waits for a synchronous standby, that is for the end of its commit."""
    return bool(rows(connection, WAITS_FOR_STANDBY)[0][0])


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
