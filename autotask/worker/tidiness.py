"""What Django does around a request, done around each task: a task gets no other task's mess."""

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


class _Thread(threading.local):
    """What is known of the connections of one thread."""

    has_connected = False


_thread = _Thread()


def tidy_connections(*, unsure: bool = False) -> None:
    """Roll back what was left open in this thread, and close connections as ``close_old_connections()`` would.

    A thread that has not connected is left in peace: asking for its connections takes longer than a short task. Never
    raises: what a task has left behind is nothing that its outcome depends on.

    :param unsure: look whether it is known to have connected. What cuts a task off, or fails, may come while it
        connects: then the connection is there, and nobody has been told.
    """
    if _keep_schemas():
        _put_schemas_back()
    if not (_thread.has_connected or unsure):
        return
    connected = [connection for connection in connections.all(initialized_only=True) if connection.connection]
    for connection in connected:
        try:
            _tidy(connection)
        except Exception:
            logger.exception("The connection %r was not left as it should be, and is given up", connection.alias)
            with contextlib.suppress(Exception):
                connection.close()
            _forget(connection)
    _thread.has_connected = any(connection.connection for connection in connected)


def _tidy(connection: BaseDatabaseWrapper) -> None:
    connection.queries_log.clear()
    if connection.in_atomic_block or not connection.autocommit:
        # A wrapper that was left in the middle of a transaction cannot be mended.
        try:
            connection.close()
        finally:
            _forget(connection)
    elif getattr(connection.connection, "closed", False):
        connection.close()  # The task has closed it behind Django's back.
    else:
        connection.close_if_unusable_or_obsolete()


@functools.cache
def _keep_schemas() -> bool:
    """Whether connections keep the schema of a tenant, also while they are closed, as those of django-tenants do."""
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
            logger.exception("The schema of the connection %r cannot be put back; it is given up", connection.alias)
            with contextlib.suppress(Exception):
                connection.close()
            _forget(connection)


def _forget(connection: BaseDatabaseWrapper) -> None:
    """Have the next use make a new one."""
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
    _thread.has_connected = True


# Sent in the thread that connects.
connection_created.connect(_remember, dispatch_uid="autotask.tidiness")
