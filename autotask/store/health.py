"""The health of the database, as far as it can report it."""

import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store import arrays, notify
from autotask.store.connection import aware, execute, rows

_CHANNEL = "autotask_doctor"

# Any transaction in this database with a snapshot or with writes keeps rows that were deleted since it began; that of a
# vacuum does not. The text of the query is left out: it may contain secrets.
# A role that is neither superuser nor in pg_read_all_stats sees only its own sessions.
OLD_TRANSACTIONS = """
SELECT pid, application_name, xact_start, query_start, extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
  AND xact_start < clock_timestamp() - %(seconds)s * interval '1 s'
ORDER BY xact_start
"""

# Without the rights of pg_read_all_stats, only the process id of another role's session is visible.
SESSION = """
SELECT datname, application_name, extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE pid = %(pid)s
"""

#: At most every five seconds, PostgreSQL warns a session that notifies which listener holds up the queue.
_SAID_EVERY = 5.0

# Each role can see what its own sessions wait for. By the role and not by the process id, which a pooler hides.
WAITS_FOR_STANDBY = """
SELECT EXISTS (
    SELECT 1 FROM pg_stat_activity
    WHERE datname = current_database() AND usename = session_user AND wait_event = 'SyncRep'
)
"""
# The rights that the statements of a site and its workers need. The sequence of an identity column needs none.
MISSING_RIGHTS = """
SELECT min(current_user::text), array_agg(needed.what || ' ON ' || needed.on_what ORDER BY needed.place, needed.what)
FROM (
    SELECT right_.name AS what, 'TABLE ' || t.name AS on_what, t.place,
           has_table_privilege(t.name, right_.name) AS granted
    FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS t(name, place)
    CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) AS right_(name)
    UNION ALL SELECT 'SELECT', 'TABLE ' || v.name, 97 + v.place, has_table_privilege(v.name, 'SELECT')
    FROM unnest(ARRAY['autotask_record', 'autotask_live', 'autotask_running']) WITH ORDINALITY AS v(name, place)
    UNION ALL SELECT 'USAGE', 'SEQUENCE autotask_fence', 101, has_sequence_privilege('autotask_fence', 'USAGE')
) AS needed
WHERE NOT needed.granted
"""

TABLES = [
    *("autotask_task", "autotask_ready", "autotask_held", "autotask_claim", "autotask_result", "autotask_attempt"),
    *("autotask_worker", "autotask_schedule"),
    *("autotask_mark", "autotask_slot", "autotask_bucket", "autotask_pause"),
    *("autotask_step", "autotask_background", "autotask_background_instance", "autotask_background_trigger"),
    *(
        "autotask_api_key",
        "autotask_idempotency_key",
        "autotask_statistics",
        "autotask_log",
        "autotask_incident",
        "autotask_history",
    ),
]

WHERE = "SELECT current_database(), current_setting('server_version')"


@dataclass(frozen=True, slots=True)
class OldTransaction:
    """A transaction that holds back vacuum; its last statement began at *query_start*, *age* is in seconds."""

    pid: int
    application: str
    began: datetime
    query_start: datetime
    age: float


@dataclass(frozen=True, slots=True)
class Laggard:
    """The session that listens but does not read the queue of notifications, so that it fills up.

    :ivar seconds: how long its transaction has been open; None: there is none, or this role may not see it.
    """

    pid: int
    database: str
    application: str
    seconds: float | None


def where(connection: BaseDatabaseWrapper) -> tuple[str, str]:
    """Return the name of the database and the version of the server."""
    name, version = rows(connection, WHERE)[0]
    return name, version


def waits_for_standby(connection: BaseDatabaseWrapper) -> bool:
    """Whether a session of this role waits for a synchronous standby to confirm its commit."""
    return bool(rows(connection, WAITS_FOR_STANDBY)[0][0])


def missing_rights(connection: BaseDatabaseWrapper) -> tuple[str, list[str]]:
    """Return the role of the connection, and the rights that it lacks, as in a GRANT."""
    role, missing = rows(connection, MISSING_RIGHTS, {"tables": arrays.texts(TABLES)})[0]
    return role or "", missing or []


def old_transactions(connection: BaseDatabaseWrapper, seconds: float) -> list[OldTransaction]:
    """Return the transactions that have held back vacuum for longer than *seconds*, oldest first."""
    return [
        OldTransaction(pid, application or "", aware(began), aware(query), age)
        for pid, application, began, query, age in rows(connection, OLD_TRANSACTIONS, {"seconds": seconds})
    ]


def hears(connection: BaseDatabaseWrapper) -> bool:
    """Whether LISTEN on this connection hears a NOTIFY; a session's own one arrives before the answer."""
    listener = notify.ChannelListener(connection, _CHANNEL)
    try:
        execute(connection, f"NOTIFY {_CHANNEL}")
        return listener.heard()
    finally:
        listener.close()


def laggard(connection: BaseDatabaseWrapper) -> Laggard | None:
    """Return the session that holds up a queue of notifications that is at least half full; None if there is no warning.

    It takes some seconds. No view shows which sessions listen, but PostgreSQL warns a session that notifies, and names the
    listener that is furthest behind. (PostgreSQL source, ``asyncQueueFillWarning`` in ``commands/async.c``.)
    """
    deadline = time.monotonic() + _SAID_EVERY + 1.5
    while (pid := _warned_of(connection)) is None:
        if time.monotonic() > deadline:
            return None
        time.sleep(0.5)
    found = rows(connection, SESSION, {"pid": pid})
    database, application, seconds = found[0] if found else (None, None, None)
    return Laggard(pid, database or "", application or "", seconds)


def _warned_of(connection: BaseDatabaseWrapper) -> int | None:
    """Notify, and return the process id in the resulting warning, if any."""
    details: list[str] = []

    def note(diagnostic: Any) -> None:
        details.append(diagnostic.message_detail or "")

    raw = connection.connection
    if is_psycopg3:
        raw.add_notice_handler(note)
    else:
        raw.notices.clear()
    try:
        execute(connection, f"NOTIFY {_CHANNEL}")
    except DatabaseError:
        if connection.connection is None or not connection.is_usable():
            raise
        # The queue is full; the warning came first.
    finally:
        if is_psycopg3:
            raw.remove_notice_handler(note)
        else:
            details += [line for line in "".join(raw.notices).splitlines() if "PID" in line]
    pids = [int(found[0]) for detail in details if (found := re.search(r"\d+", detail))]
    return pids[0] if pids else None
