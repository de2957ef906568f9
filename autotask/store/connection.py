"""A cursor on the configured database, rows as tuples; nothing else opens a connection."""

import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, overload

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.utils import load_backend
from django.utils import timezone

from autotask.conf import settings
from autotask.exceptions import NotPostgreSQL
from autotask.store import hearing

#: What libpq does about a peer that is silently gone: noticed after about 20 s instead of hours (libpq documentation,
#: "Parameter Key Words"). Values that a project sets itself win.
KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}

#: What a worker's own session needs, whatever ALTER ROLE or ALTER DATABASE have set: the name of a setting, its value, and
#: the version of PostgreSQL that brought it. A worker's own statements are short: one that takes longer than this waits for
#: something that is wrong. Its sessions may be idle for ever, since some of them only listen.
SESSION = (
    ("statement_timeout", "10s", 0),
    ("lock_timeout", "%(lock_timeout)s", 0),
    ("idle_in_transaction_session_timeout", "15s", 0),
    ("default_transaction_isolation", "read committed", 0),
    ("idle_session_timeout", "0", 140000),
    ("transaction_timeout", "0", 170000),
)

#: Seconds after which a process that waits for results looks again what a pooler does.
TRY_AGAIN = 600.0

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

    :ivar pooled: whether there is a pooler before the server.
    """

    def __init__(self, role: str, lock_timeout: float) -> None:
        self.role = role
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
        self._trial: hearing.Trial | None = None
        with _all_lock:
            _all.add(self)

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

    @property
    def asked_at(self) -> float | None:
        """When the statement was sent, by the monotonic clock, whose answer is awaited now; None if none is."""
        asked_at: float | None = getattr(self._wrapper, "asked_at", None)
        return asked_at

    def close(self) -> None:
        """Close the connection, if it is open; the next use opens a new one."""
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            # It may be broken already, which may be why it is being closed.
            with contextlib.suppress(DatabaseError, InterfaceError):
                wrapper.close()

    def hears(self) -> bool | None:
        """Whether LISTEN hears on this connection; None while it is not known yet.

        Where a pooler turns out to keep the session of this connection, what it needs is set now.

        :raises django.db.OperationalError: the database cannot be reached.
        """
        wrapper = self.wrapper
        if self._trial is None or keeps_session(wrapper):
            return True
        if self._trial.keeps is None:
            self._trial = self.trial()
        elif self._trial.keeps:
            self._set_session(wrapper)
        return self._trial.keeps

    def _open(self) -> BaseDatabaseWrapper:
        wrapper = self._connected()
        # A pooler answers with a process id of its own making, unless it is one that has a session for each connection. A
        # session setting would leak to its other clients, and so would LISTEN, unless it keeps sessions.
        with _closed_on_error(wrapper):
            self.pooled = not self._set_session(
                wrapper, f"WHERE pg_backend_pid() = {wrapper.connection.info.backend_pid:d}"
            )
        self._trial = self.trial() if self.pooled else None
        return wrapper

    def _connected(self) -> BaseDatabaseWrapper:
        wrapper = _own(load_backend(self._settings["ENGINE"]).DatabaseWrapper)(self._settings, settings.DATABASE)
        wrapper.inc_thread_sharing()  # Opened by its thread, but it may be closed by another one at the end.
        with _closed_on_error(wrapper):  # Django leaves open what it has connected to and cannot set up.
            wrapper.ensure_connection()  # and not connect(), which lets errors of the driver through
        return wrapper

    def trial(self) -> hearing.Trial:
        """Return what is, or is being, found out about the pooler that is there."""
        place = tuple(str(self._settings[key]) for key in ("HOST", "PORT", "NAME", "USER"))
        return hearing.trial(place, self._connected)

    def _set_session(self, wrapper: BaseDatabaseWrapper, condition: str = "") -> bool:
        """Set what the session needs, at one go; return whether the condition was true, without which nothing is set."""
        version = wrapper.connection.info.server_version
        values = ", ".join(
            f"set_config('{name}', '{value}', false)" for name, value, since in SESSION if version >= since
        )
        sql = f"SELECT {values} {condition}" % {"lock_timeout": f"{self._lock_timeout * 1000:.0f}ms"}
        is_set = bool(rows(wrapper, sql))
        if is_set:
            setattr(wrapper, _KEEPS_SESSION, True)
        return is_set


@contextlib.contextmanager
def _closed_on_error(wrapper: BaseDatabaseWrapper) -> Iterator[None]:
    try:
        yield
    except BaseException:
        wrapper.close()
        raise


#: All of this process, so that one thread can see for what the others wait.
_all: weakref.WeakSet[Dedicated] = weakref.WeakSet()
_all_lock = threading.Lock()


def unanswered() -> tuple[float, str] | None:
    """Return for how many seconds a worker's own connection has waited for an answer, and its role; None if none waits."""
    with _all_lock:
        own = list(_all)
    waiting = [(asked_at, connection.role) for connection in own if (asked_at := connection.asked_at) is not None]
    if not waiting:
        return None
    asked_at, role = min(waiting)
    return time.monotonic() - asked_at, role


#: What was tried for the connections of callers, which may go through a pooler as well.
_callers: hearing.Trial | None = None


def note_pooler() -> None:
    """Begin to find out, unless that was done lately, whether the pooler before the caller's connection keeps sessions."""
    global _callers
    if _callers is None or time.monotonic() - _callers.began > TRY_AGAIN:
        _callers = dedicated("trial").trial()


def shares_sessions() -> bool:
    """Whether a pooler is known to share the sessions of callers between transactions, so that LISTEN would hear nothing,
    and stay behind in a session that others are given."""
    return _callers is not None and _callers.keeps is False


def _renew_in_fork() -> None:
    # Threads have stayed behind in the parent: one of them may have held the lock, another one was about to find this out.
    global _all_lock, _callers
    _all_lock = threading.Lock()
    _callers = None


os.register_at_fork(after_in_child=_renew_in_fork)


def keeps_session(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is a worker's own, and no pooler is known to give its session to others between two statements.

    That is known a moment after the connection was opened, see :meth:`Dedicated.hears`.
    """
    return getattr(connection, _KEEPS_SESSION, False)


class _Cursor(CursorWrapper):
    """A cursor whose connection tells since when it waits for an answer."""

    def execute(self, sql: Any, params: Any = None) -> Any:
        self.db.asked_at = time.monotonic()
        try:
            return super().execute(sql, params)
        finally:
            self.db.asked_at = None


@functools.cache  # A class costs more than all else that is done in vain while the database is away.
def _own(wrapper_class: type[BaseDatabaseWrapper]) -> type[BaseDatabaseWrapper]:
    """Return a class of connections of a worker's own.

    They do not keep the text of each statement when DEBUG is True: Django keeps 9000 of them for each connection until
    the end of a request, and a worker has no requests.
    """
    own = {"queries_logged": False, "asked_at": None, "make_cursor": lambda self, cursor: _Cursor(cursor, self)}
    return type("OwnDatabaseWrapper", (wrapper_class,), own)


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


def is_alone(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement would be a transaction of its own: also not after a BEGIN of which Django does not know."""
    if connection.in_atomic_block or not connection.get_autocommit():
        return False
    # Django has the connection open by now. What the driver knows costs no round trip; IDLE is 0 in both drivers.
    return not connection.connection.info.transaction_status


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
