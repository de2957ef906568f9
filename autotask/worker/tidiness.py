"""What Django does around a request, done around each task: a task gets no other task's mess."""

import threading
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created


class _Thread(threading.local):
    """What is known of the connections of one thread."""

    has_connected = False


_thread = _Thread()


def look_again() -> None:
    """Have the connections of this thread looked at once, whether it is known to have any.

    What cuts a task off may come while it connects: then the connection is there, and nobody has been told.
    """
    _thread.has_connected = True


def tidy_connections() -> None:
    """Roll back what was left open in this thread, and close connections as ``close_old_connections()`` would.

    A thread that has not connected is left in peace: asking for its connections takes longer than a short task.
    """
    if not _thread.has_connected:
        return
    connected = [connection for connection in connections.all(initialized_only=True) if connection.connection]
    for connection in connected:
        connection.queries_log.clear()
        if connection.in_atomic_block or not connection.autocommit:
            _abandon(connection)
        elif getattr(connection.connection, "closed", False):
            connection.close()  # The task has closed it behind Django's back.
        else:
            connection.close_if_unusable_or_obsolete()
    _thread.has_connected = any(connection.connection for connection in connected)


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


def _abandon(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.close()
    finally:
        # A wrapper that was left in the middle of a transaction cannot be mended; the next use makes a new one.
        del connections[connection.alias]


# Sent in the thread that connects.
connection_created.connect(_remember, dispatch_uid="autotask.tidiness")
