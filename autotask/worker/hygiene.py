"""Do around each task what Django does around a request: no task gets another task's mess."""

import contextlib
import functools
import logging
import threading
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import load_backend

logger = logging.getLogger("autotask.worker")

#: PQTRANS_IDLE of libpq: no statement runs, and no transaction is open.
_IDLE = 0


class ConnectionHygiene:
    """The state of the connections of one thread. Only that thread calls it; see :func:`of_thread`.

    :ivar has_connected: whether the thread has open connections, as far as is known without looking.
    :ivar is_clean: whether there is nothing to put in order, as far as is known without looking.
    :ivar is_tidied: whether the thread tidies them itself, after each task.
    """

    __slots__ = ("has_connected", "is_clean", "is_tidied")

    def __init__(self) -> None:
        self.has_connected = self.is_tidied = self.is_clean = False

    def tidy(self, *, unsure: bool = False) -> None:
        """Put them in order; see :func:`tidy_connections`."""
        if self.is_clean and not unsure:
            return  # as nearly always where tasks are short: those that use the database take longer
        if not self.is_tidied:
            global _has_tidied
            self.is_tidied = _has_tidied = True
        if _keep_schemas():
            _put_schemas_back()
        if self.has_connected or unsure:
            connected = _connected()
            for connection in connected:
                _tidy_safely(connection)
            self.has_connected = any(connection.connection for connection in connected)
        self.is_clean = not self.has_connected and not _keep_schemas()


class _Here(threading.local):
    def __init__(self) -> None:
        self.connections = ConnectionHygiene()


_here = _Here()
_has_tidied = False


def of_thread() -> ConnectionHygiene:
    """Return the state of the connections of this thread."""
    return _here.connections


def tidy_connections(*, unsure: bool = False) -> None:
    """Roll back what was left open in this thread, and close connections as ``close_old_connections()`` would.

    A thread that has not connected is skipped: asking for its connections takes longer than a short task. Never raises: the
    outcome of a task does not depend on what it has left behind.

    :param unsure: look, whether the thread is known to have connected or not. If a task is cut off or fails while it
        connects, the connection is there, but not noted.
    """
    _here.connections.tidy(unsure=unsure)


def close_connections() -> None:
    """Close the connections of this thread, which is about to end."""
    for connection in _connected():
        with contextlib.suppress(Exception):  # It may be broken.
            connection.close()


def is_worker() -> bool:
    """Whether threads of this process run tasks; otherwise its connections are not ours to tidy."""
    return _has_tidied


def is_tidied_here() -> bool:
    """Whether this thread tidies its connections itself, after each task."""
    return _here.connections.is_tidied


def has_connected() -> bool:
    """Whether this thread has open connections, as far as is known without looking."""
    return _here.connections.has_connected


def left_open(spared: str | None = None) -> list[str]:
    """Return the aliases of the connections of this thread in which a transaction or a statement is not finished.

    :param spared: the alias of a connection to skip.
    """
    if not _here.connections.has_connected:
        return []
    return [connection.alias for connection in _connected() if connection.alias != spared and is_open(connection)]


def close_left_open() -> list[str]:
    """Close the connections of this thread that :func:`left_open` finds; return their aliases."""
    if not _here.connections.has_connected:
        return []
    found = [connection for connection in _connected() if is_open(connection)]
    for connection in found:
        _tidy_safely(connection)
    return [connection.alias for connection in found]


def is_disturbed() -> bool:
    """Whether a connection of this thread is in a state in which nobody else can use it."""
    return _here.connections.has_connected and any(map(_is_disturbed, _connected()))


def is_open(connection: BaseDatabaseWrapper) -> bool:
    """Whether a transaction or a statement is not finished. The driver knows; the server is not asked.

    Django itself does not notice transactions that were begun by a statement.
    """
    raw: Any = connection.connection
    if raw is None or getattr(raw, "closed", False):
        return False
    if connection.vendor == "postgresql":
        return not _is_idle(raw)
    if connection.vendor == "sqlite":
        return bool(raw.in_transaction)
    return connection.in_atomic_block


def close_driver_connection(raw: Any) -> None:
    """Close a connection of the driver, or put it back into its pool, whatever it is doing, from any thread.

    One that is idle goes back to its pool. Any other one does not as it is: psycopg's pool would roll back, and wait for the
    lock that a ``stream()`` holds until its generator has ended. Closing takes no lock (psycopg 3.3, ``Connection.close``).
    """
    pool = getattr(raw, "_pool", None)
    if pool is None:
        raw.close()
        return
    if not _is_idle(raw):
        raw.pgconn.finish()
    pool.putconn(raw)


def _is_idle(raw: Any) -> bool:
    pgconn = getattr(raw, "pgconn", None)  # psycopg 3
    return raw.info.transaction_status == _IDLE and not (pgconn is not None and pgconn.pipeline_status)


def _connected() -> list[BaseDatabaseWrapper]:
    return [connection for connection in connections.all(initialized_only=True) if connection.connection]


def _is_disturbed(connection: BaseDatabaseWrapper) -> bool:
    expected = connection.settings_dict["AUTOCOMMIT"]
    return connection.in_atomic_block or connection.autocommit != expected or is_open(connection)


def _tidy_safely(connection: BaseDatabaseWrapper) -> None:
    try:
        _tidy(connection)
    except Exception:
        logger.exception("The connection %r could not be tidied, and is dropped", connection.alias)
        with contextlib.suppress(Exception):
            connection.close()
        _forget(connection)


def _tidy(connection: BaseDatabaseWrapper) -> None:
    connection.queries_log.clear()
    if is_open(connection):
        if (pgconn := getattr(connection.connection, "pgconn", None)) is not None:
            # Before anything that would wait for the lock of the connection.
            pgconn.finish()
        _give_up(connection)
    elif connection.in_atomic_block or not connection.autocommit:
        _give_up(connection)
    elif getattr(connection.connection, "closed", False):
        connection.close()  # The task has closed it behind Django's back.
    else:
        connection.close_if_unusable_or_obsolete()


@functools.cache
def _keep_schemas() -> bool:
    """Whether connections keep the schema of a tenant, even while closed, as those of django-tenants do."""
    backends = (load_backend(parts["ENGINE"]) for parts in connections.settings.values())
    return any(hasattr(backend.DatabaseWrapper, "set_schema_to_public") for backend in backends)


def _put_schemas_back() -> None:
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    connection: Any
    for connection in connections.all(initialized_only=True):
        if getattr(connection, "schema_name", public) == public:
            continue
        try:
            connection.set_schema_to_public()
        except Exception:
            logger.exception("The schema of the connection %r cannot be reset; it is dropped", connection.alias)
            with contextlib.suppress(Exception):
                connection.close()
            _forget(connection)


def _give_up(connection: BaseDatabaseWrapper) -> None:
    """Close a connection. A wrapper that was left in the middle of a transaction cannot be repaired."""
    try:
        connection.close()
    finally:
        _forget(connection)


def _forget(connection: BaseDatabaseWrapper) -> None:
    """Have the next use create a new one."""
    with contextlib.suppress(AttributeError):  # It was forgotten before.
        del connections[connection.alias]


def drop_broken_connections() -> None:
    """Close the connections of this thread that are broken, and leave all others alone: somebody may be using them."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and connection.errors_occurred and not connection.in_atomic_block:
            if connection.is_usable():
                connection.errors_occurred = False
            else:
                connection.close()


def _remember(**_: Any) -> None:
    _here.connections.has_connected, _here.connections.is_clean = True, False


# Sent in the thread that connects.
connection_created.connect(_remember, dispatch_uid="autotask.hygiene")
