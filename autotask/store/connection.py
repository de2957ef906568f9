"""A cursor on the configured database, rows as tuples; nothing else opens a connection."""

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, overload

from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend
from django.utils import timezone

from autotask.conf import settings
from autotask.exceptions import NotPostgreSQL

#: What libpq does about a peer that is silently gone: noticed after about 20 s instead of hours (libpq documentation,
#: "Parameter Key Words"). Values that a project sets itself win.
KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}

#: A worker's own statements are short: one that waits longer than this waits for something that is wrong.
SESSION = """
SELECT set_config('statement_timeout', '10s', false), set_config('lock_timeout', %(lock_timeout)s, false),
       set_config('idle_in_transaction_session_timeout', '15s', false),
       set_config('default_transaction_isolation', 'read committed', false)
"""

#: SQLSTATEs that mean "the database cannot do it now" without being operational errors of the driver: read only.
_WEATHER_STATES = {"25006"}

_LOCK_NOT_AVAILABLE = "55P03"

#: SQLSTATEs of a transaction that conflicts with another one: serialization failure, deadlock. Run again, it may succeed.
_CONFLICTS = {"40001", "40P01"}

#: The attribute of a connection that is one of a worker's own.
_KEEPS_SESSION = "autotask_keeps_session"


def current() -> BaseDatabaseWrapper:
    """Return the calling thread's own Django connection to the database of autotask.

    :raises NotPostgreSQL: the database is another one.
    """
    connection = connections[settings.DATABASE]
    if connection.vendor != "postgresql":
        raise NotPostgreSQL(alias=settings.DATABASE, engine=connection.settings_dict["ENGINE"])
    return connection


def dedicated(role: str, lock_timeout: float = 3.0) -> "Dedicated":
    """Return a connection for one thread of a worker, opened at its first statement.

    :param role: what it is for, for people who look at ``pg_stat_activity``.
    :param lock_timeout: seconds after which a statement gives up waiting for a lock.
    """
    return Dedicated(role, lock_timeout)


class Dedicated:
    """A connection that belongs to one thread of a worker and has one job.

    It is not one of ``django.db.connections``, so neither a task nor ``close_old_connections()`` can touch it.
    """

    def __init__(self, role: str, lock_timeout: float) -> None:
        self._lock_timeout = lock_timeout
        base = current().settings_dict
        options = {**KEEPALIVE, "application_name": f"autotask {role}", **base.get("OPTIONS", {})}
        # A pool belongs to the web process; a worker holds few connections for its whole life.
        options.pop("pool", None)
        options.pop("isolation_level", None)
        # The arguments of a prepared statement cannot be bound by the server a second time.
        options.pop("server_side_binding", None)
        self._settings = {
            **base,
            "OPTIONS": options,
            "CONN_MAX_AGE": None,
            "ATOMIC_REQUESTS": False,
            "AUTOCOMMIT": True,
        }
        self._wrapper: BaseDatabaseWrapper | None = None
        self.pooled = False

    @property
    def wrapper(self) -> BaseDatabaseWrapper:
        """The open Django connection.

        :raises django.db.OperationalError: the database cannot be reached.
        """
        if self._wrapper is None or not self.is_open:
            self._wrapper = self._open()
        return self._wrapper

    @property
    def is_open(self) -> bool:
        """Whether there is a connection; it may be broken."""
        return self._wrapper is not None and self._wrapper.connection is not None

    def close(self) -> None:
        """Close the connection, if it is open; the next use opens a new one."""
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            # It may be broken already, which may be why it is being closed.
            with contextlib.suppress(DatabaseError, InterfaceError):
                wrapper.close()

    def _open(self) -> BaseDatabaseWrapper:
        wrapper = _quiet(load_backend(self._settings["ENGINE"]).DatabaseWrapper)(self._settings, settings.DATABASE)
        wrapper.inc_thread_sharing()  # Opened by its thread, but it may be closed by another one at the end.
        wrapper.ensure_connection()  # and not connect(), which lets errors of the driver through
        # A pooler answers with a process id of its own making. A session setting would leak to its other clients,
        # and LISTEN would hear nothing.
        self.pooled = rows(wrapper, "SELECT pg_backend_pid()")[0][0] != wrapper.connection.info.backend_pid
        if not self.pooled:
            execute(wrapper, SESSION, {"lock_timeout": f"{self._lock_timeout * 1000:.0f}ms"})
            setattr(wrapper, _KEEPS_SESSION, True)
        return wrapper


def keeps_session(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is a worker's own, and no pooler gives its session to others between two statements."""
    return getattr(connection, _KEEPS_SESSION, False)


def _quiet(wrapper_class: type[BaseDatabaseWrapper]) -> type[BaseDatabaseWrapper]:
    """Return a class of connections that do not keep the text of each statement when DEBUG is True.

    Django keeps 9000 of them for each connection until the end of a request, and a worker has no requests.
    """
    return type("QuietDatabaseWrapper", (wrapper_class,), {"queries_logged": False})


def with_callers_transaction(action: Callable[[], object]) -> None:
    """Do something now, inside the caller's transaction, if that is on the database of autotask.

    If autotask has a database of its own, it is done after the commit of the caller's transaction on the default
    database. The two commits are not one: if the process dies between them, it is not done.
    """
    if settings.DATABASE != DEFAULT_DB_ALIAS:
        default = connections[DEFAULT_DB_ALIAS]
        if default.in_atomic_block and not current().in_atomic_block:
            default.on_commit(action)
            return
    action()


def rows(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def execute(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | tuple[Any, ...] | None = None
) -> int:
    """Run one statement and return the number of rows it touched."""
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.rowcount)


def is_weather(error: BaseException) -> bool:
    """Whether an error means that the database is away for a while, rather than that a statement is wrong."""
    if isinstance(error, (OperationalError, InterfaceError)):
        return True
    return isinstance(error, DatabaseError) and _state(error) in _WEATHER_STATES


def is_locked(error: BaseException) -> bool:
    """Whether an error means that a row is locked by somebody else for longer than the lock timeout."""
    return _state(error) == _LOCK_NOT_AVAILABLE


def is_conflict(error: BaseException) -> bool:
    """Whether an error means that the transaction conflicts with another one, and can be run again as it is."""
    return _state(error) in _CONFLICTS


def _state(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of the database."""
    state: str | None = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
    return state


@overload
def aware(moment: None) -> None: ...
@overload
def aware(moment: datetime) -> datetime: ...
def aware(moment: datetime | None) -> datetime | None:
    """Return a moment as the driver gave it, in UTC; with ``USE_TZ = False`` Django hands out naive local times."""
    if moment is None:
        return None
    if moment.utcoffset() is None:
        moment = timezone.make_aware(moment, timezone.get_default_timezone())
    return moment.astimezone(UTC)


@overload
def in_utc(moment: None) -> None: ...
@overload
def in_utc(moment: datetime) -> datetime: ...
def in_utc(moment: datetime | None) -> datetime | None:
    """Return a moment that was selected ``AT TIME ZONE 'UTC'``, and so without a zone, as an aware one.

    With ``USE_TZ = False`` only this is exact: in the hour that is repeated in autumn a local time means two moments.
    """
    return None if moment is None else moment.replace(tzinfo=UTC)


def text(value: str, longest: int = 100_000) -> str:
    """Return text that PostgreSQL can store: without NUL and lone surrogates, and not longer than *longest*."""
    if not value:
        return value  # The most frequent text by far: no error.
    if len(value) > longest:
        value = value[: longest - 1] + "…"
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
