"""Connections to the configured database, opened only here, and rows as tuples."""

import contextlib
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.db.backends.utils import CursorWrapper
from django.db.utils import load_backend
from django.utils import timezone
from django.utils.connection import ConnectionDoesNotExist

from autotask.conf import settings
from autotask.exceptions import NotPostgreSQL
from autotask.store import hearing
from autotask.store.errors import is_conflict

#: With these, libpq notices a peer that is silently gone after about 20 s instead of hours (libpq documentation,
#: "Parameter Key Words"). The project's own values win.
KEEPALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}

#: Settings of a worker's own session, whatever ALTER ROLE or ALTER DATABASE have set: name, value, and the version of
#: PostgreSQL that introduced it. A worker's own statements are short: one that takes longer than this waits for something
#: that is wrong. SKIP LOCKED passes over what others have changed only in READ COMMITTED
#: (findings/skip_locked_raises_where_a_row_has_changed.sh). Its sessions may be idle forever, since some of them only listen.
#: To compile a statement (JIT) would take a hundred times as long as to run it: PostgreSQL goes by the number of rows that it
#: expects, and where many tasks wait, it expects too many. For prepared statements it expects ten items in an array that it does
#: not know, and would plan the largest ones again each time, which takes longer than running them. The plan that it makes while there
#: are no tasks would read the whole table for each task, once there are many: so it uses indexes. Arrays of parameters have NULL for
#: None.
SESSION = (
    ("statement_timeout", "10s", 0),
    ("lock_timeout", "%(lock_timeout)s", 0),
    ("idle_in_transaction_session_timeout", "15s", 0),
    ("default_transaction_isolation", "read committed", 0),
    ("idle_session_timeout", "0", 140000),
    ("transaction_timeout", "0", 170000),
    ("jit", "off", 110000),
    ("plan_cache_mode", "force_generic_plan", 120000),
    ("enable_seqscan", "off", 0),
    ("array_nulls", "on", 0),
)

#: Seconds after which a process that waits for results tries the pooler again.
TRY_AGAIN = 600.0

#: The most times that a transaction of a caller that conflicts with others is run again. Of those that meet, one succeeds.
MOST_AGAIN = 50

R = TypeVar("R")

#: The same moment with and without a zone.
_EPOCH, _NAIVE_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)  # noqa: DTZ001 - that is the point

#: The attribute that marks a worker's own connection.
_KEEPS_SESSION = "autotask_keeps_session"


def current() -> BaseDatabaseWrapper:
    """Return the calling thread's own Django connection to the database of autotask.

    :raises NotPostgreSQL: it is not a PostgreSQL.
    :raises ConnectionDoesNotExist: DATABASES has no such alias.
    """
    try:
        connection = connections[settings.DATABASE]
    except ConnectionDoesNotExist:
        aliases = ", ".join(map(repr, connections.settings))
        raise ConnectionDoesNotExist(
            f"AUTOTASK_DATABASE is {settings.DATABASE!r}, but DATABASES has no such alias. It has {aliases}."
        ) from None
    if connection.vendor != "postgresql":
        raise NotPostgreSQL(alias=settings.DATABASE, engine=connection.settings_dict["ENGINE"])
    return connection


def dedicated(role: str, lock_timeout: float = 0.7) -> "Dedicated":
    """Return a connection for one thread of a worker, opened at its first statement.

    :param role: its purpose, shown in ``pg_stat_activity``.
    :param lock_timeout: seconds after which a statement gives up waiting for a lock: before PostgreSQL's ``deadlock_timeout``.
    """
    return Dedicated(role, lock_timeout)


class Dedicated:
    """A connection of one thread of a worker, with one job.

    It is not one of ``django.db.connections``, so neither a task nor ``close_old_connections()`` can touch it.

    :ivar pooled: whether a pooler is in front of the server.
    """

    def __init__(self, role: str, lock_timeout: float) -> None:
        self.role = role
        self._lock_timeout = lock_timeout
        base = current().settings_dict
        options = {**KEEPALIVE, "application_name": f"autotask {role}", **base.get("OPTIONS", {})}
        # A pool belongs to the web process; a worker holds few connections for its whole life.
        options.pop("pool", None)
        options.pop("isolation_level", None)
        # The server cannot bind the arguments of a prepared statement a second time.
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
        """When the statement that awaits its answer was sent, by the monotonic clock; None if there is none."""
        asked_at: float | None = getattr(self._wrapper, "asked_at", None)
        return asked_at

    def close(self) -> None:
        """Close the connection; the next use opens a new one."""
        wrapper, self._wrapper = self._wrapper, None
        if wrapper is not None:
            # It may be broken already, and closed for that reason.
            with contextlib.suppress(DatabaseError, InterfaceError):
                wrapper.close()

    def hears(self) -> bool | None:
        """Whether LISTEN hears on this connection; None while that is not known.

        If a pooler turns out to keep the session of this connection, the session is set up now.

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
        # A pooler makes up a process id, unless it has a session for each connection. A session setting would leak to its
        # other clients, and so would LISTEN, unless it keeps sessions.
        with _closed_on_error(wrapper):
            self.pooled = not self._set_session(
                wrapper, f"WHERE pg_backend_pid() = {wrapper.connection.info.backend_pid:d}"
            )
        self._trial = self.trial() if self.pooled else None
        return wrapper

    def _connected(self) -> BaseDatabaseWrapper:
        wrapper = _own(load_backend(self._settings["ENGINE"]).DatabaseWrapper)(self._settings, settings.DATABASE)
        wrapper.inc_thread_sharing()  # its thread opens it, but another one may close it at the end
        with _closed_on_error(wrapper):  # Django leaves a connection open that it cannot set up
            wrapper.ensure_connection()  # and not connect(), which lets errors of the driver through
        return wrapper

    def trial(self) -> hearing.Trial:
        """Return the trial of the pooler, which may be still running."""
        place = tuple(str(self._settings[key]) for key in ("HOST", "PORT", "NAME", "USER"))
        return hearing.trial(place, self._connected)

    def _set_session(self, wrapper: BaseDatabaseWrapper, condition: str = "") -> bool:
        """Set the session up in one statement, if the condition is true; return whether it is."""
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


#: All of this process, so that one thread can see what the others wait for.
_all: weakref.WeakSet[Dedicated] = weakref.WeakSet()
_all_lock = threading.Lock()


def unanswered() -> tuple[float, str] | None:
    """Return the seconds that a worker's own connection has waited for an answer, and its role; None if none waits."""
    with _all_lock:
        own = list(_all)
    waiting = [(asked_at, connection.role) for connection in own if (asked_at := connection.asked_at) is not None]
    if not waiting:
        return None
    asked_at, role = min(waiting)
    return time.monotonic() - asked_at, role


#: The trial for the connections of callers, which may go through a pooler as well.
_callers: hearing.Trial | None = None


def note_pooler() -> None:
    """Start to find out whether the pooler of the caller's connection keeps sessions, unless that was done lately."""
    global _callers
    if _callers is None or time.monotonic() - _callers.began > TRY_AGAIN:
        _callers = dedicated("trial").trial()


def shares_sessions() -> bool:
    """Whether a pooler is known to share the sessions of callers between transactions.

    There LISTEN would hear nothing, and stay behind in a session that others get.
    """
    return _callers is not None and _callers.keeps is False


def _renew_in_fork() -> None:
    # Threads stay behind in the parent: one may have held the lock, another may have been running the trial.
    global _all_lock, _callers
    _all_lock = threading.Lock()
    _callers = None


os.register_at_fork(after_in_child=_renew_in_fork)


def keeps_session(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is a worker's own, and its session is known not to go to others between statements.

    That is known a moment after it was opened, see :meth:`Dedicated.hears`.
    """
    return getattr(connection, _KEEPS_SESSION, False)


class _Cursor(CursorWrapper):
    """A cursor whose connection knows since when it has been waiting for an answer."""

    def execute(self, sql: Any, params: Any = None) -> Any:
        self.db.asked_at = time.monotonic()
        try:
            return super().execute(sql, params)
        finally:
            self.db.asked_at = None


@functools.cache  # A class costs more than anything else that fails during an outage.
def _own(wrapper_class: type[BaseDatabaseWrapper]) -> type[BaseDatabaseWrapper]:
    """Return the class of a worker's own connections.

    They log no statements: with DEBUG, Django keeps 9000 of them for each connection until the end of a request, and a
    worker has no requests.
    """
    own = {"queries_logged": False, "asked_at": None, "make_cursor": lambda self, cursor: _Cursor(cursor, self)}
    return type("OwnDatabaseWrapper", (wrapper_class,), own)


def rows(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows."""

    def run() -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    return again(connection, run)


def execute(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | tuple[Any, ...] | None = None
) -> int:
    """Run one statement and return the number of rows it touched."""

    def run() -> int:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return int(cursor.rowcount)

    return again(connection, run)


def again(connection: BaseDatabaseWrapper, act: Callable[[], R], is_done: Callable[[], object] = bool) -> R:
    """Run statements in a transaction; if that is no part of another one and conflicts with others, run it again.

    Sites may have ``default_transaction_isolation = serializable``, and a caller without a transaction of his own cannot know
    that there is one. A worker's own sessions have another level.

    :param act: does nothing but run the statements.
    :param is_done: whether they are committed, so that the error is one of what came after them.
    """
    for _ in range(MOST_AGAIN):
        try:
            return act()
        except OperationalError as error:
            if is_done() or not is_conflict(error) or keeps_session(connection) or not is_alone(connection):
                raise
    return act()


def in_transaction(connection: BaseDatabaseWrapper, act: Callable[[], R], *, savepoint: bool = True) -> R:
    """Run statements in a transaction, or in the caller's; see :func:`again`.

    :param savepoint: whether that of the caller is as before if they fail.
    """

    committed: list[bool] = []

    def run() -> R:
        with transaction.atomic(using=connection.alias, savepoint=savepoint):
            if is_outermost:
                # Before the callbacks of the site, of which one may conflict with others, too.
                transaction.on_commit(lambda: committed.append(True), using=connection.alias)
            return act()

    is_outermost = not connection.in_atomic_block
    return again(connection, run, lambda: committed)


def is_alone(connection: BaseDatabaseWrapper) -> bool:
    """Whether a statement would be its own transaction; not after a BEGIN that Django does not know about either."""
    if connection.in_atomic_block or not connection.get_autocommit():
        return False
    # Django has the connection open by now. Asking the driver costs no round trip; IDLE is 0 in both drivers.
    raw = connection.connection
    return not (raw.pgconn if is_psycopg3 else raw.info).transaction_status


@overload
def aware(moment: None) -> None: ...
@overload
def aware(moment: datetime) -> datetime: ...
def aware(moment: datetime | None) -> datetime | None:
    """Return a moment from the driver, in UTC; with ``USE_TZ = False`` Django returns naive local times."""
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
    """Return a moment selected ``AT TIME ZONE 'UTC'``, and so without a zone, as an aware one.

    With ``USE_TZ = False`` only this is exact: in the repeated hour in autumn a local time means two moments.
    """
    # As replace(tzinfo=UTC), in a third of the time: this runs for each claimed task.
    return None if moment is None else _EPOCH + (moment - _NAIVE_EPOCH)


def text(value: str, longest: int = 100_000) -> str:
    """Return text that PostgreSQL can store: without NUL and lone surrogates, and not longer than *longest*."""
    if len(value) <= longest and value.isascii() and "\0" not in value:
        return value  # as most texts: no error, or the arguments of a call
    if len(value) > longest:
        value = value[: longest - 1] + "…"
    return value.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
