"""LISTEN and NOTIFY: the channel names and the wake-up calls."""

import select
import threading
import time
import uuid
from collections.abc import Callable

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store.connection import execute

#: Workers listen here for new work.
WORK_CHANNEL = "autotask_work"

#: NOTIFY takes a lock that all commits of the cluster pass, so no process sends more than one in this many seconds.
#: Who misses one is served by the worker's next look, soon after the last wake-up.
NOTIFY_INTERVAL = 0.1

_waker: Callable[[], None] | None = None
_throttle = threading.Lock()
_last_sent = float("-inf")


def ended_channel(id: uuid.UUID) -> str:
    """Return the channel on which the end of an awaited task is told."""
    return f"autotask_ended_{id.hex}"


def set_waker(waker: Callable[[], None] | None) -> None:
    """Say how this process wakes a worker of its own; None: it has none, and sends NOTIFY instead."""
    global _waker
    _waker = waker


def wake_after_commit(connection: BaseDatabaseWrapper) -> None:
    """Wake a worker as soon as the caller's transaction has committed, never inside it."""
    # Where a program commits by hand, nobody is told when; workers find the task by looking.
    if connection.in_atomic_block or connection.get_autocommit():
        connection.on_commit(_wake(connection), robust=True)


def _wake(connection: BaseDatabaseWrapper) -> Callable[[], None]:
    return _waker or (lambda: send(connection))


def send(connection: BaseDatabaseWrapper) -> None:
    """Tell listening workers that there is work, at most once in a tenth of a second."""
    global _last_sent
    with _throttle:
        now = time.monotonic()
        if now - _last_sent < NOTIFY_INTERVAL:
            return
        _last_sent = now
    execute(connection, f"NOTIFY {WORK_CHANNEL}")


def listen(connection: BaseDatabaseWrapper, channel: str) -> None:
    """Start listening on a channel."""
    execute(connection, f"LISTEN {channel}")


def unlisten(connection: BaseDatabaseWrapper, channel: str) -> None:
    """Stop listening on a channel."""
    execute(connection, f"UNLISTEN {channel}")


def wait(connection: BaseDatabaseWrapper, seconds: float) -> None:
    """Wait until the connection hears something or the time is over.

    :raises django.db.OperationalError: the connection is broken.
    """
    readable, _, _ = select.select([connection.connection.fileno()], [], [], max(0.0, seconds))
    if readable:
        heard(connection)


def heard(connection: BaseDatabaseWrapper) -> None:
    """Take in what the connection has heard, without waiting. What it was does not matter: everybody looks anyway.

    :raises django.db.OperationalError: the connection is broken.
    """
    raw = connection.connection
    with connection.wrap_database_errors:
        if is_psycopg3:
            for _ in raw.notifies(timeout=0):
                pass
        else:
            raw.poll()
            raw.notifies.clear()
