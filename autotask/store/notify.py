"""LISTEN and NOTIFY: the channel names and the wake-up calls."""

import functools
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar

from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.own_worker import own
from autotask.processes import readable
from autotask.store import addressee, hearing
from autotask.store.connection import execute, is_alone, rows
from autotask.store.errors import is_conflict, is_forbidden, is_missing, is_program_limit

R = TypeVar("R")

logger = logging.getLogger("autotask")

WORK_CHANNEL = addressee.WORK_CHANNEL

#: Schedulers listen here for schedules that are due earlier than they expect.
SCHEDULES_CHANNEL = "autotask_schedules"

#: Requests that wait for a remote task listen here.
REMOTE_CHANNEL = "autotask_remote"

#: NOTIFY takes a lock that all commits of the cluster pass, so no process sends more than one in this many seconds.
#: A task without one is found by the worker's next look, soon after the last wake-up.
NOTIFY_INTERVAL = 0.02

#: Seconds for which all workers are notified, after the role has turned out not to see which are idle.
TRY_AGAIN = 60.0

#: Seconds between two log lines about a queue of notifications that is full.
SAY_EVERY = 60.0

TELL = "SELECT pg_notify(channel, words) FROM unnest(%(channels)s::text[], %(words)s::text[]) AS told(channel, words)"

#: Tells workers of one task.
TELL_OF = f"SELECT pg_notify({addressee.channel('%(queue)s::text', '%(executor)s::text')}, '{addressee.ONE}')"

#: The queue and the executor of a task.
Place = tuple[str, str]

#: Once the queue of notifications is full, PostgreSQL frees the part that all listeners have read only when asked this.
#: (PostgreSQL source, ``asyncQueueAdvanceTail`` in ``commands/async.c``.)
USAGE = "SELECT pg_notification_queue_usage()"

_throttle = threading.Lock()
_last_sent = float("-inf")
_last_said = float("-inf")

#: Until when this role is known not to see which workers are idle, on the monotonic clock.
_blind_until = float("-inf")


def ended_channel(id: uuid.UUID) -> str:
    """Return the channel that is notified of the end of an awaited task."""
    return f"autotask_ended_{id.hex}"


def worker_channel(id: uuid.UUID) -> str:
    """Return the channel that is notified when a running task of a worker should be cancelled."""
    return f"autotask_worker_{id.hex}"


def _renew_in_fork() -> None:
    # A thread of the parent may have held the lock, and cannot release it here.
    global _throttle
    _throttle = threading.Lock()


os.register_at_fork(after_in_child=_renew_in_fork)


def wake_after_commit(connection: BaseDatabaseWrapper, place: Place | None = None) -> None:
    """Wake a worker as soon as the caller's transaction has committed, never inside it.

    :param place: the queue and the executor of the only task that it is woken for; None: of any number of tasks.
    """
    if connection.in_atomic_block:
        connection.on_commit(lambda: _wake(connection, place))
    elif connection.autocommit:
        _wake(connection, place)
    # If a program commits by hand, nobody knows when; workers find the task by polling.


def _wake(connection: BaseDatabaseWrapper, place: Place | None) -> None:
    try:
        if own.wake is not None:
            own.wake()
        else:
            send(connection, place)
    except Exception as error:  # The task is stored, and polling finds it: the call must not fail.
        logger.warning("Workers could not be notified of new work: %s", error)


def store_and_wake(connection: BaseDatabaseWrapper, store: Callable[[bool], bool], place: Place) -> None:
    """Store one task, and wake a worker as soon as it is committed.

    Where the statement is a transaction of its own, it notifies as well: a NOTIFY by itself is another transaction, for which
    the disk is waited for again.

    :param store: runs the statement, and returns whether the task is stored; its argument says whether that should notify.
    """
    if own.wake is None and is_alone(connection) and _sees() and _may_send():
        try:
            if not tell_or_not(connection, store):
                _told_nobody()
            return
        except ProgrammingError as error:
            _told_nobody()
            _is_blind(error)
        except Exception as error:
            _told_nobody()
            if not is_conflict(error):
                raise
            # A serializable transaction may not read what others write, as that statement does. The next one reads nothing.
    if store(False):
        wake_after_commit(connection, place)


def send(connection: BaseDatabaseWrapper, place: Place | None = None) -> None:
    """Notify listening workers of new work, at most every :data:`NOTIFY_INTERVAL`.

    :param place: as for :func:`wake_after_commit`.
    """
    if not _may_send():
        return
    if place is not None and _sees():
        try:
            tell_or_not(connection, lambda telling: _notify(connection, place) if telling else None)
            return
        except ProgrammingError as error:
            _is_blind(error)
    tell_or_not(connection, lambda telling: _notify(connection, None) if telling else None)


def _sees() -> bool:
    """Whether this role may see which workers are idle, as far as is known."""
    return time.monotonic() >= _blind_until


def _is_blind(error: ProgrammingError) -> None:
    """Tell all workers for a while: the role may not see which are idle, or ``migrate`` has yet to be run.

    :raises django.db.ProgrammingError: something else is wrong.
    """
    global _blind_until
    if not (is_forbidden(error) or is_missing(error)):
        raise error
    _blind_until = time.monotonic() + TRY_AGAIN


def _told_nobody() -> None:
    """Let the next call notify, however soon it comes: the statement that was to do it has failed, or stored nothing."""
    global _last_sent
    _last_sent = float("-inf")


def _may_send() -> bool:
    """Whether the last notification was long enough ago; then the caller sends one."""
    global _last_sent
    with _throttle:
        now = time.monotonic()
        # The clock of a test may have been in the future.
        if 0 <= now - _last_sent < NOTIFY_INTERVAL:
            return False
        _last_sent = now
        return True


def _notify(connection: BaseDatabaseWrapper, place: Place | None) -> None:
    # Not with a cursor of Django: it would count, now and then, as a query of the caller's.
    connection.ensure_connection()
    with connection.wrap_database_errors, connection.connection.cursor() as cursor:
        if place is None:
            cursor.execute(f"NOTIFY {WORK_CHANNEL}")
        else:
            cursor.execute(TELL_OF, {"queue": place[0], "executor": place[1]})


def tell_after_commit(connection: BaseDatabaseWrapper, told: Mapping[str, str]) -> None:
    """Notify channels, each with its words, as soon as the caller's transaction has committed; failures are logged.

    Not inside the transaction: if the queue of notifications is full, its commit would fail.
    """
    if connection.in_atomic_block:
        connection.on_commit(functools.partial(_tell, connection, told), robust=True)
    elif connection.get_autocommit():
        _tell(connection, told)
    # If a program commits by hand, nobody knows when; waiting callers poll.


def _tell(connection: BaseDatabaseWrapper, told: Mapping[str, str]) -> None:
    params = {"channels": list(told), "words": list(told.values())}
    try:
        tell_or_not(connection, lambda telling: rows(connection, TELL, params) if telling else [])
    except Exception as error:  # It is stored as well, and polling finds it.
        logger.warning("Others could not be notified of the end of a task, or of a request to cancel it: %s", error)


def do_after_commit(connection: BaseDatabaseWrapper, tell: Callable[[], object]) -> None:
    """Run a statement that notifies as soon as the caller's transaction has committed; if it fails, it is logged.

    For what is found without it as well, if later.
    """
    if connection.in_atomic_block:
        connection.on_commit(functools.partial(_do, connection, tell), robust=True)
    elif connection.get_autocommit():
        _do(connection, tell)
    # If a program commits by hand, nobody knows when.


def _do(connection: BaseDatabaseWrapper, tell: Callable[[], object]) -> None:
    try:
        tell_or_not(connection, lambda telling: tell() if telling else None)
    except Exception as error:
        logger.warning("Workers could not be notified, and will find it later: %s", error)


def tell_or_not(connection: BaseDatabaseWrapper, act: Callable[[bool], R]) -> R:
    """Run a statement that also notifies; if the queue of notifications is full, without notifying.

    A listener anywhere in the cluster that stays in a transaction fills the queue. No work may depend on that: all listeners
    poll as well.

    :param connection: it commits each statement.
    :param act: runs the statement; its argument says whether to notify.
    """
    try:
        return act(True)
    except Exception as error:
        if not is_program_limit(error):
            raise
    usage(connection)
    try:
        return act(True)
    except Exception as error:
        if not is_program_limit(error):
            raise
    done = act(False)
    _say_full()
    return done


def usage(connection: BaseDatabaseWrapper) -> float:
    """Return the share of the queue of notifications that is in use, after freeing the part that all listeners have read."""
    return float(rows(connection, USAGE)[0][0])


def _say_full() -> None:
    global _last_said
    now = time.monotonic()
    if now - _last_said >= SAY_EVERY:
        _last_said = now
        logger.warning(
            "PostgreSQL's queue of notifications is full, because a session that listens stays in a transaction. Until it ends, "
            "workers and callers find news by polling. 'python manage.py autotask doctor' names the session."
        )


class ChannelListener:
    """A connection that listens on one channel.

    A notification that arrives with the answer to another statement is heard too: both drivers keep it (psycopg since
    3.2.4), while it could not be seen on the socket.

    :param also: a statement without parameters, run together with LISTEN in one transaction and one round trip.
    :ivar told: the last payload.
    :ivar touched: how many rows that statement has touched.
    :raises django.db.OperationalError: the connection is broken; all methods may raise it.
    """

    __slots__ = ("_channel", "_connection", "_raw", "has_heard", "told", "touched")

    def __init__(self, connection: BaseDatabaseWrapper, channel: str, *, also: str = "") -> None:
        self._connection = connection
        self._channel = channel
        self.told = ""
        self.has_heard = False
        with connection.cursor() as cursor:
            # psycopg 3 with a prepare_threshold of 0 prepares everything, but cannot prepare several statements at once.
            if also and is_psycopg3 and cursor.connection.prepare_threshold == 0:
                cursor.execute(f"LISTEN {channel}")
                cursor.execute(also)
            else:
                cursor.execute(f"LISTEN {channel}; {also}" if also else f"LISTEN {channel}")
                while is_psycopg3 and cursor.nextset():
                    pass  # psycopg2 has the last result only
            self.touched = cursor.rowcount
        self._raw = connection.connection

    def close(self) -> None:
        """Stop listening."""
        if self._connection.connection is not self._raw:
            return  # it is another connection by now
        hearing.stop(self._raw)
        execute(self._connection, f"UNLISTEN {self._channel}")

    def fileno(self) -> int:
        """Return the file descriptor that becomes readable when there is something to hear."""
        return int(self._raw.fileno())

    def wait(self, seconds: float) -> None:
        """Wait until something is heard or the time is over."""
        if not self.heard() and readable.wait([self.fileno()], seconds):
            self.heard()

    def heard(self) -> bool:
        """Read, without waiting, what has come since the last time, and return whether there was anything."""
        come = hearing.heard(self._connection)
        self.told = come.get(self._channel, self.told)
        self.has_heard = self.has_heard or bool(come)
        return bool(come)


class PollingOnly:
    """Stands in for a :class:`ChannelListener` where nothing would be heard: it only waits."""

    told = ""
    has_heard = False

    def wait(self, seconds: float) -> None:
        """Wait until the time is over."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing."""
