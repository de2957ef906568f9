"""Find out by trying whether LISTEN hears NOTIFY through a pooler."""

import contextlib
import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Hashable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.processes import readable

logger = logging.getLogger("autotask")

#: Seconds to wait for the notification. If the pooler keeps sessions, it comes within milliseconds.
PATIENCE = 3.0

#: The number of times that each of the two connections is asked for its server process, before that.
LOOKS = 5

#: Seconds for which connections opened soon after each other share one trial, and after which a trial is repeated that has
#: shown nothing, because the pooler had no connections left.
SHARED = 10.0
AGAIN = 60.0


class Trial:
    """Two connections through a pooler, in a thread of its own: one listens, the other one notifies.

    One connection alone shows nothing: it hears itself even in a shared session. The listening one must be idle when it
    hears, since then the session is its own.

    :param open: opens one more connection.
    :ivar keeps: whether the pooler keeps a session for each connection, so that LISTEN hears; None while that is unknown.
    """

    def __init__(self, open: Callable[[], BaseDatabaseWrapper]) -> None:
        self._open = open
        self.keeps: bool | None = None
        self.began = time.monotonic()

    def start(self) -> None:
        """Start the thread. If that fails, nothing is known."""
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=self._run, name="autotask-trial", daemon=True).start()

    def _run(self) -> None:
        try:
            with contextlib.closing(self._open()) as listening, contextlib.closing(self._open()) as telling:
                self.keeps = _hears(listening, telling)
        except Exception as error:  # Whatever it is: other users of the database will report it.
            logger.debug("Could not try whether NOTIFY is heard: %s", error)


def _hears(listening: BaseDatabaseWrapper, telling: BaseDatabaseWrapper) -> bool:
    # First a test that leaves nothing behind: a pooler that shares sessions gives both the same one, or soon changes it.
    seen = {(_process_id(listening), _process_id(telling)) for _ in range(LOOKS)}
    if len(seen) > 1 or any(one == other for one, other in seen):
        return False
    # The channel is new: if the LISTEN stays behind in a session that others get, they never hear anything on it.
    channel = f"autotask_trial_{uuid.uuid4().hex}"
    _run_on(listening, f"LISTEN {channel}")
    _run_on(telling, f"NOTIFY {channel}")
    if readable.wait([listening.connection.fileno()], PATIENCE):
        return channel in heard(listening)
    for connection in (listening, telling):
        _run_on(connection, f"UNLISTEN {channel}")
    return False


def _process_id(connection: BaseDatabaseWrapper) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _run_on(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


_latest: dict[Hashable, Trial] = {}
_lock = threading.Lock()


def trial(place: Hashable, open: Callable[[], BaseDatabaseWrapper]) -> Trial:
    """Return the recent trial of a pooler, or start a new one.

    :param place: its address, with the names of the database and the user.
    """
    with _lock:
        latest = _latest.get(place)
        if latest is None or time.monotonic() - latest.began > (SHARED if latest.keeps is not None else AGAIN):
            latest = _latest[place] = Trial(open)
            latest.start()
        return latest


def _renew_in_fork() -> None:
    # Threads stay behind in the parent, and one of them may have held the lock.
    global _lock
    _lock = threading.Lock()
    _latest.clear()


os.register_at_fork(after_in_child=_renew_in_fork)


def heard(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return, without waiting, the last payload of each channel notified since the last time."""
    return dict(all_heard(connection))


def all_heard(connection: BaseDatabaseWrapper) -> list[tuple[str, str]]:
    """Return, without waiting, channel and payload of all notifications since the last time, in order."""
    raw = connection.connection
    with connection.wrap_database_errors:
        if is_psycopg3:
            return _all_come(raw)
        raw.poll()
        told = [(told.channel, told.payload) for told in raw.notifies]
        raw.notifies.clear()
        return told


class _Heard:
    """Keeps what psycopg 3 hears on a connection while it waits for the answers to statements."""

    def __init__(self, raw: Any) -> None:
        self.told = [(told.channel, told.payload) for told in raw.notifies(timeout=0)]
        raw.add_notify_handler(self.keep)

    def keep(self, told: Any) -> None:
        self.told.append((told.channel, told.payload))


#: By the connection of psycopg 3.
_heard: weakref.WeakKeyDictionary[Any, _Heard] = weakref.WeakKeyDictionary()


def _all_come(raw: Any) -> list[tuple[str, str]]:
    """Return all notifications since the last time.

    Not by ``notifies()``, which takes a tenth of a millisecond on an idle system, and a thread that is woken calls this twice.
    """
    if (heard := _heard.get(raw)) is None:
        heard = _heard[raw] = _Heard(raw)
    else:
        pgconn = raw.pgconn
        pgconn.consume_input()
        while (come := pgconn.notifies()) is not None:
            pgconn.notify_handler(come)
    told, heard.told = heard.told, []
    return told


def stop(raw: Any) -> None:
    """Leave the notifications on a connection of a driver to others again."""
    if (heard := _heard.pop(raw, None)) is not None:
        raw.remove_notify_handler(heard.keep)
