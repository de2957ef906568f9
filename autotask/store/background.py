"""Background workers: which of them are to run, by the wishes of people.

A wish is changed by people, and by a function that returns False: then it is decided, and lasts. Until then it is what the
code says.
"""

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import notify
from autotask.store.connection import execute, rows
from autotask.store.errors import is_conflict, is_forbidden

#: The prefix of the name of a background worker's definition.
PREFIX = "background:"

#: One process notifies of messages for one background worker at most once in this many seconds.
CALL_EVERY = 0.02

#: Seconds after a notification until another look: of messages in quick succession only the first is notified.
LOOK_AGAIN = 0.03

#: Seconds after which a background worker is declared again.
DECLARE_EVERY = 600.0

#: The first number of the advisory locks of those who insert one, so that they differ from those of the site: "back" in ASCII.
LOCKS = 0x6261636B


class Declared(NamedTuple):
    """A background worker as the code declares it; see :class:`autotask.background.options.BackgroundOptions`."""

    name: str
    kind: str
    per: str
    queue: str
    autostart: bool


class State(NamedTuple):
    """Whether a background worker is to run, and how many instances of it are hosted.

    :ivar ending: how many of them are to end: the worker is to stop, or was started again since.
    """

    wanted: bool
    hosted: int
    ending: int


#: Whether an instance has a host.
HOSTED = "EXISTS (SELECT 1 FROM autotask_worker w WHERE w.id = {0}.worker_id)"

# Caretakers leave alone what somebody else is inserting, by this lock: that transaction may be long.
_LOCKED = f"WITH lock AS MATERIALIZED (SELECT pg_advisory_xact_lock({LOCKS}, hashtext(%(name)s::text)))"

START = f"""
{_LOCKED}
INSERT INTO autotask_background AS b (name, kind, per, queue, wanted, decided, start_id, setup, declared_at)
SELECT %(name)s, %(kind)s, %(per)s, %(queue)s, true, true, %(start_id)s::uuid, %(setup)s::bytea, clock_timestamp() FROM lock
ON CONFLICT (name) DO UPDATE
SET wanted = true, decided = true, start_id = excluded.start_id, setup = excluded.setup, ended = ''
WHERE %(again)s OR NOT b.wanted
RETURNING 1
"""

START_KNOWN = """
UPDATE autotask_background SET wanted = true, decided = true, start_id = %(start_id)s, setup = NULL, ended = ''
WHERE name = %(name)s AND NOT wanted
"""

STOP_KNOWN = """
UPDATE autotask_background SET wanted = false, decided = true, setup = NULL, ended = ''
WHERE name = %(name)s AND (wanted OR NOT decided)
"""

STOP = f"""
{_LOCKED}
INSERT INTO autotask_background AS b (name, kind, per, queue, wanted, decided, start_id, declared_at)
SELECT %(name)s, %(kind)s, %(per)s, %(queue)s, false, true, %(start_id)s::uuid, clock_timestamp() FROM lock
ON CONFLICT (name) DO UPDATE SET wanted = false, decided = true, setup = NULL, ended = ''
WHERE b.wanted OR NOT b.decided
RETURNING 1
"""

# Not while some code has it: that would declare it again.
FORGET_KNOWN = f"""
DELETE FROM autotask_background b
WHERE b.name = %(name)s AND b.declared_at < clock_timestamp() - %(after)s * interval '1 s'
  AND NOT EXISTS (SELECT 1 FROM autotask_background_instance i WHERE i.name = b.name AND {HOSTED.format("i")})
"""

# Wishes are rare: every worker looks. Messages are not: only the host does. Where there is none, the worker that takes the
# instance looks a moment after that.
_CHANNEL = "'autotask_background_' || replace({0}::text, '-', '')"

TELL_ALL = f"SELECT pg_notify({_CHANNEL.format('id')}, '') FROM autotask_worker"

#: With the name, so that the host need not look first.
TELL_HOST = f"""
SELECT count(pg_notify({_CHANNEL.format("i.worker_id")}, i.name)) FROM autotask_background_instance i
WHERE i.name = %(name)s::text AND i.worker_id IS NOT NULL
"""

TELL_HOSTS_OF = f"""
SELECT pg_notify({_CHANNEL.format("i.worker_id")}, i.name) FROM autotask_background_instance i
WHERE i.worker_id IS NOT NULL AND %(prefix)s || i.name IN (
    SELECT t.name FROM autotask_task t WHERE t.id = ANY(%(ids)s::uuid[]) AND t.executor = 'background')
"""

STATE = f"""
SELECT coalesce((SELECT wanted FROM autotask_background WHERE name = %(name)s), false),
       (SELECT count(*) FROM autotask_background_instance i WHERE i.name = %(name)s AND {HOSTED.format("i")}),
       (SELECT count(*) FROM autotask_background_instance i
        WHERE i.name = %(name)s AND {HOSTED.format("i")} AND NOT EXISTS (
            SELECT 1 FROM autotask_background b WHERE b.name = i.name AND b.wanted AND b.start_id = i.start_id))
"""

# --- for users --------------------------------------------------------------------------------------------------------


def start(
    connection: BaseDatabaseWrapper, declared: Declared, id: uuid.UUID, setup: bytes | None, *, again: bool
) -> bool:
    """Want a background worker to run; caretakers are notified after the commit.

    :param setup: the signed arguments of this start.
    :param again: whether to start one again that is to run already.
    :returns: whether anything has changed.
    """
    params = {**declared._asdict(), "start_id": id, "setup": setup, "again": again}
    changed = bool(rows(connection, START, params))
    if changed:
        tell(connection)
    return changed


def stop(connection: BaseDatabaseWrapper, name: str, declared: Declared) -> bool:
    """Want a background worker to stop; the same as :func:`start` otherwise."""
    changed = bool(rows(connection, STOP, {**declared._asdict(), "start_id": uuid.uuid4()}))
    if changed:
        tell(connection)
    return changed


def start_known(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Want one that some worker has declared to run; the same as :func:`start` otherwise."""
    changed = bool(execute(connection, START_KNOWN, {"name": name, "start_id": uuid.uuid4()}))
    if changed:
        tell(connection)
    return changed


def stop_known(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Want one that some worker has declared to stop; the same as :func:`start` otherwise."""
    changed = bool(execute(connection, STOP_KNOWN, {"name": name}))
    if changed:
        tell(connection)
    return changed


def forget_known(connection: BaseDatabaseWrapper, name: str) -> bool:
    """Delete one that no worker has declared for a while; return whether there was one."""
    return bool(execute(connection, FORGET_KNOWN, {"name": name, "after": 2 * DECLARE_EVERY}))


def state(connection: BaseDatabaseWrapper, name: str) -> State:
    """Return whether a background worker is to run, and whether it is hosted."""
    return State(*rows(connection, STATE, {"name": name})[0])


# --- notifications ----------------------------------------------------------------------------------------------------

_called_at: dict[str, float] = {}
_calling = threading.Lock()


def _renew_in_fork() -> None:
    # A thread of the parent may have held the lock, and cannot release it here.
    global _calling
    _calling = threading.Lock()


os.register_at_fork(after_in_child=_renew_in_fork)


def channel(worker_id: uuid.UUID) -> str:
    """Return the channel on which the caretaker of a worker listens."""
    return f"autotask_background_{worker_id.hex}"


def tell(connection: BaseDatabaseWrapper) -> None:
    """Have all caretakers look, after the commit of the caller's transaction."""
    notify.do_after_commit(connection, lambda: rows(connection, TELL_ALL))


def of_message(name: str) -> str | None:
    """Return the name of the background worker of a message; None: the name is that of a task."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def call(connection: BaseDatabaseWrapper, name: str, nearby: Callable[[str], bool]) -> None:
    """Have the host of a background worker look for messages, after the commit; at most every :data:`CALL_EVERY`.

    :param name: of the background worker.
    :param nearby: tells the worker of this process instead, which passes it on; returns False if there is none.
    """
    notify.do_after_commit(connection, lambda: _call(connection, name, nearby))


def call_hosts(connection: BaseDatabaseWrapper, name: str) -> None:
    """Notify the hosts of a background worker, at once."""
    rows(connection, TELL_HOST, {"name": name})


def call_for(connection: BaseDatabaseWrapper, ids: Sequence[uuid.UUID]) -> None:
    """The same for those among some tasks that are messages: they can be handled again."""
    if ids:
        params = {"prefix": PREFIX, "ids": list(ids)}
        notify.do_after_commit(connection, lambda: rows(connection, TELL_HOSTS_OF, params))


def store_and_call(connection: BaseDatabaseWrapper, name: str, store: Callable[[bool], object]) -> bool:
    """Store a message and notify its hosts, in one transaction, so that the disk is waited for once; False: nothing was stored.

    :param store: runs the statement, as a transaction of its own; its argument says whether that should notify.
    """
    if not _may_call(name):
        return False  # They are about to look.
    try:
        notify.tell_or_not(connection, store)
    except BaseException as error:
        with _calling:
            _called_at.pop(name, None)  # Nobody was told.
        if not (is_forbidden(error) or is_conflict(error)):
            raise
        return False
    return True


def _call(connection: BaseDatabaseWrapper, name: str, nearby: Callable[[str], bool]) -> None:
    if _may_call(name) and not nearby(name):
        call_hosts(connection, name)


def _may_call(name: str) -> bool:
    with _calling:
        now = time.monotonic()
        # The clock of a test may have been in the future.
        if 0 <= now - _called_at.get(name, float("-inf")) < CALL_EVERY:
            return False
        _called_at[name] = now
        return True
