"""Background workers: the wishes of people, and which worker hosts which one.

A wish is changed only by people, and by a function that returns False. An instance belongs to its host as long as that is
registered: a rescue removes a dead worker from the register, and so lets others take its instances. Each take gives it a new
fence, by which a former host is refused.
"""

import os
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, notify
from autotask.store.connection import execute, in_utc, rows, text

#: How the name of a definition of a background worker begins.
PREFIX = "background:"

#: One process notifies of messages for one background worker at most once in this many seconds. Caretakers look again a
#: little later than that.
CALL_EVERY = 0.02

#: Seconds after which a background worker is declared again, and after which one is forgotten that nobody declares.
DECLARE_EVERY = 600.0
FORGET_AFTER = 86400.0


class Declared(NamedTuple):
    """A background worker as the code declares it; see :class:`autotask.background.options.BackgroundOptions`."""

    name: str
    kind: str
    per: str
    queue: str
    autostart: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one background worker and of its instance at one place.

    :ivar wanted: whether it is to run; None: it is not declared yet.
    :ivar start_id: identifies the present start.
    :ivar is_stale: whether it is to be declared again.
    :ivar fence: of the last take of the instance; None: nobody has taken it.
    :ivar host: the registered worker that hosts it; None: there is none.
    :ivar waits: whether messages wait.
    """

    name: str
    place: str
    wanted: bool | None
    start_id: uuid.UUID | None
    is_stale: bool
    fence: int | None
    host: uuid.UUID | None
    waits: bool


class Grant(NamedTuple):
    """The right to host an instance, until the worker loses its registration.

    :ivar setup: the signed arguments of the start; None: there are none.
    """

    name: str
    place: str
    fence: int
    start_id: uuid.UUID
    setup: bytes | None


class News(NamedTuple):
    """What an instance has done since it was last written down.

    :ivar ago: seconds since its last run ended.
    :ivar error: the last traceback; "" for none.
    """

    name: str
    place: str
    fence: int
    runs: int
    errors: int
    ago: float
    error: str


class State(NamedTuple):
    """Whether a background worker is to run, and how many instances of it are hosted.

    :ivar ending: how many of them are to end: the worker is to stop, or was started again since.
    """

    wanted: bool
    hosted: int
    ending: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a background worker.

    :ivar worker_id: of its host; None: there is none.
    :ivar host: name of the machine of its last host.
    """

    place: str
    worker_id: uuid.UUID | None
    host: str
    pid: int
    began_at: datetime | None
    runs: int
    errors: int
    last_run_at: datetime | None
    last_error: str
    last_error_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredBackground:
    """A background worker with its instances.

    :ivar ended: why it has stopped by itself; "" if it has not.
    :ivar waiting: how many messages wait.
    """

    name: str
    kind: str
    per: str
    queue: str
    wanted: bool
    ended: str
    waiting: int
    instances: Sequence[Instance]


_HOSTED = "EXISTS (SELECT 1 FROM autotask_worker w WHERE w.id = {0}.worker_id)"

# Missing rows have NULLs: the caretaker declares them.
LOOK = f"""
SELECT d.name, d.place, b.wanted, b.start_id,
       coalesce(b.declared_at < clock_timestamp() - %(declare_every)s * interval '1 s', true),
       i.fence, CASE WHEN {_HOSTED.format("i")} THEN i.worker_id END,
       EXISTS (SELECT 1 FROM autotask_task t
               WHERE t.name = %(prefix)s || d.name AND t.executor = 'background' AND t.state = 1),
       (SELECT count(*) FROM autotask_worker WHERE lease_until > clock_timestamp() AND NOT stopping)
FROM unnest(%(names)s::text[], %(places)s::text[]) AS d(name, place)
LEFT JOIN autotask_background b ON b.name = d.name
LEFT JOIN autotask_background_instance i ON i.name = d.name AND i.place = d.place
"""

# Whoever starts or stops one in a long transaction must not hold up the caretakers: locked rows are skipped.
DECLARE_NEW = """
INSERT INTO autotask_background (name, kind, per, queue, wanted, start_id, declared_at)
SELECT d.name, d.kind, d.per, d.queue, d.autostart, d.start_id, clock_timestamp()
FROM unnest(%(names)s::text[], %(kinds)s::text[], %(pers)s::text[], %(queues)s::text[], %(autostarts)s::boolean[],
            %(ids)s::uuid[]) AS d(name, kind, per, queue, autostart, start_id)
ORDER BY d.name
ON CONFLICT (name) DO NOTHING
"""

DECLARE_AGAIN = """
WITH mine AS MATERIALIZED (
    SELECT b.name FROM autotask_background b WHERE b.name = ANY(%(names)s::text[]) ORDER BY b.name FOR UPDATE SKIP LOCKED
)
UPDATE autotask_background b SET kind = d.kind, per = d.per, queue = d.queue, declared_at = clock_timestamp()
FROM unnest(%(names)s::text[], %(kinds)s::text[], %(pers)s::text[], %(queues)s::text[]) AS d(name, kind, per, queue)
WHERE b.name = d.name AND b.name IN (SELECT name FROM mine)
"""

FORGET = f"""
WITH gone AS (
    DELETE FROM autotask_background WHERE declared_at < clock_timestamp() - %(after)s * interval '1 s' RETURNING name
)
DELETE FROM autotask_background_instance i
WHERE NOT {_HOSTED.format("i")}
  AND (i.name IN (SELECT name FROM gone)
       OR (i.place <> '' AND (i.place NOT LIKE '%% %%' OR i.taken_at < clock_timestamp() - %(after)s * interval '1 s')))
"""

# The fence that the caretaker has seen: of several that see a free instance, one gets it. The look at the register alone could
# be older than the registration of a new host. The wish is locked: after the commit of a stop nobody takes the instance.
TAKE = f"""
WITH b AS MATERIALIZED (
    SELECT name, start_id, setup FROM autotask_background WHERE name = %(name)s AND wanted FOR SHARE SKIP LOCKED
)
INSERT INTO autotask_background_instance AS i (name, place, worker_id, fence, start_id, host, pid, began_at, taken_at)
SELECT b.name, %(place)s, w.id, nextval('autotask_fence'), b.start_id, w.host, w.pid, clock_timestamp(), clock_timestamp()
FROM b JOIN autotask_worker w ON w.id = %(worker_id)s
WHERE w.lease_until > clock_timestamp() AND NOT w.stopping
ON CONFLICT (name, place) DO UPDATE
SET worker_id = excluded.worker_id, fence = excluded.fence, start_id = excluded.start_id, host = excluded.host,
    pid = excluded.pid, began_at = excluded.began_at, taken_at = excluded.taken_at
WHERE i.fence IS NOT DISTINCT FROM %(seen)s::bigint AND NOT {_HOSTED.format("i")}
RETURNING i.fence, i.start_id, (SELECT setup FROM b)
"""

LEAVE = """
UPDATE autotask_background_instance SET worker_id = NULL, began_at = NULL
WHERE name = %(name)s AND place = %(place)s AND fence = %(fence)s
"""

LEAVE_FOR_GOOD = """
DELETE FROM autotask_background_instance WHERE name = %(name)s AND place = %(place)s AND fence = %(fence)s
"""

# Only the present start is over: somebody may have started it again.
END = """
UPDATE autotask_background b SET wanted = false, ended = %(why)s, setup = NULL
WHERE b.name = %(name)s AND b.start_id = %(start_id)s AND b.wanted
  AND EXISTS (SELECT 1 FROM autotask_background_instance i
              WHERE i.name = b.name AND i.place = %(place)s AND i.fence = %(fence)s)
"""

NOTE = """
UPDATE autotask_background_instance i
SET runs = i.runs + n.runs, errors = i.errors + n.errors,
    last_run_at = clock_timestamp() - n.ago * interval '1 s',
    last_error = CASE WHEN n.errors > 0 THEN n.error ELSE i.last_error END,
    last_error_at = CASE WHEN n.errors > 0 THEN clock_timestamp() - n.ago * interval '1 s' ELSE i.last_error_at END
FROM unnest(%(names)s::text[], %(places)s::text[], %(fences)s::bigint[], %(runs)s::bigint[], %(errors)s::bigint[],
            %(agos)s::float8[], %(shown)s::text[]) AS n(name, place, fence, runs, errors, ago, error)
WHERE i.name = n.name AND i.place = n.place AND i.fence = n.fence
"""

START = """
INSERT INTO autotask_background AS b (name, kind, per, queue, wanted, start_id, setup, declared_at)
VALUES (%(name)s, %(kind)s, %(per)s, %(queue)s, true, %(start_id)s, %(setup)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET wanted = true, start_id = excluded.start_id, setup = excluded.setup, ended = ''
WHERE {which}
RETURNING 1
"""

START_KNOWN = """
UPDATE autotask_background SET wanted = true, start_id = %(start_id)s, setup = NULL, ended = ''
WHERE name = %(name)s AND NOT wanted
"""

STOP_KNOWN = "UPDATE autotask_background SET wanted = false, setup = NULL, ended = '' WHERE name = %(name)s AND wanted"

STOP = """
INSERT INTO autotask_background AS b (name, kind, per, queue, wanted, start_id, declared_at)
VALUES (%(name)s, %(kind)s, %(per)s, %(queue)s, false, %(start_id)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET wanted = false, setup = NULL, ended = ''
WHERE b.wanted
RETURNING 1
"""

# Wishes are rare: every worker looks. Messages are not: only the host does. Where there is none, whoever takes the instance
# looks a moment after that.
TELL_ALL = "SELECT pg_notify('autotask_background_' || replace(id::text, '-', ''), '') FROM autotask_worker"

TELL_HOST = """
SELECT pg_notify('autotask_background_' || replace(worker_id::text, '-', ''), '') FROM autotask_background_instance
WHERE name = %(name)s AND place = '' AND worker_id IS NOT NULL
"""

STATE = f"""
SELECT coalesce((SELECT wanted FROM autotask_background WHERE name = %(name)s), false),
       (SELECT count(*) FROM autotask_background_instance i WHERE i.name = %(name)s AND {_HOSTED.format("i")}),
       (SELECT count(*) FROM autotask_background_instance i
        WHERE i.name = %(name)s AND {_HOSTED.format("i")} AND NOT EXISTS (
            SELECT 1 FROM autotask_background b WHERE b.name = i.name AND b.wanted AND b.start_id = i.start_id))
"""

READ = f"""
SELECT b.name, b.kind, b.per, b.queue, b.wanted, b.ended,
       (SELECT count(*) FROM autotask_task t
        WHERE t.name = %(prefix)s || b.name AND t.executor = 'background' AND t.state <> 2),
       i.place, CASE WHEN {_HOSTED.format("i")} THEN i.worker_id END, i.host, i.pid, i.began_at AT TIME ZONE 'UTC', i.runs, i.errors,
       i.last_run_at AT TIME ZONE 'UTC', i.last_error, i.last_error_at AT TIME ZONE 'UTC'
FROM autotask_background b LEFT JOIN autotask_background_instance i ON i.name = b.name
WHERE %(only)s::text IS NULL OR b.name = %(only)s
ORDER BY b.name, i.place
"""


# --- for people -------------------------------------------------------------------------------------------------------


def start(
    connection: BaseDatabaseWrapper, declared: Declared, id: uuid.UUID, setup: bytes | None, *, again: bool
) -> bool:
    """Want a background worker to run; caretakers are notified after the commit.

    :param setup: the signed arguments of this start.
    :param again: whether to start one again that is to run already.
    :returns: whether anything has changed.
    """
    params = {**declared._asdict(), "start_id": id, "setup": setup}
    changed = bool(rows(connection, START.format(which="true" if again else "NOT b.wanted"), params))
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


def state(connection: BaseDatabaseWrapper, name: str) -> State:
    """Return whether a background worker is to run, and whether it is hosted."""
    return State(*rows(connection, STATE, {"name": name})[0])


def read(connection: BaseDatabaseWrapper, only: str | None = None) -> list[StoredBackground]:
    """Return the background workers by name, with their instances.

    :param only: the name of one; None: all.
    """
    found: dict[str, StoredBackground] = {}
    instances: dict[str, list[Instance]] = {}
    for name, kind, per, queue, wanted, ended, waiting, place, *rest in rows(
        connection, READ, {"prefix": PREFIX, "only": only}
    ):
        mine = instances.setdefault(name, [])
        found.setdefault(name, StoredBackground(name, kind, per, queue, wanted, ended, waiting, mine))
        if place is not None:
            worker_id, host, pid, began_at, runs, errors, run_at, error, error_at = rest
            mine.append(
                Instance(
                    *(place, worker_id, host, pid, in_utc(began_at), runs, errors, in_utc(run_at), error),
                    in_utc(error_at),
                )
            )
    return list(found.values())


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


def call(connection: BaseDatabaseWrapper, name: str) -> None:
    """Have the host of a background worker look for messages, after the commit; at most every :data:`CALL_EVERY`.

    :param name: of the background worker.
    """
    notify.do_after_commit(connection, lambda: _call(connection, name))


def _call(connection: BaseDatabaseWrapper, name: str) -> None:
    with _calling:
        now = time.monotonic()
        if now - _called_at.get(name, float("-inf")) < CALL_EVERY:
            return
        _called_at[name] = now
    rows(connection, TELL_HOST, {"name": name})


# --- for caretakers ---------------------------------------------------------------------------------------------------


def look(connection: BaseDatabaseWrapper, places: Sequence[tuple[str, str]]) -> tuple[list[Seen], int]:
    """Return what is known of background workers, and how many workers live.

    :param places: name and place of each instance.
    """
    params = {
        "names": arrays.texts([name for name, _ in places]),
        "places": arrays.texts([place for _, place in places]),
        "prefix": PREFIX,
        "declare_every": DECLARE_EVERY,
    }
    found = rows(connection, LOOK, params)
    return [Seen(*row[:-1]) for row in found], max((int(row[-1]) for row in found), default=1)


def declare(connection: BaseDatabaseWrapper, declared: Sequence[Declared], *, new: bool) -> None:
    """Say that the code has these background workers.

    :param new: whether they are not in the table yet.
    """
    params = {
        "names": arrays.texts([each.name for each in declared]),
        "kinds": arrays.texts([each.kind for each in declared]),
        "pers": arrays.texts([each.per for each in declared]),
        "queues": arrays.texts([each.queue for each in declared]),
        "autostarts": arrays.flags([each.autostart for each in declared]),
        "ids": arrays.uuids([uuid.uuid4() for _ in declared]),
    }
    execute(connection, DECLARE_NEW if new else DECLARE_AGAIN, params)


def forget(connection: BaseDatabaseWrapper) -> None:
    """Delete background workers that nobody has declared for a day, and the instances of workers and hosts that are gone."""
    execute(connection, FORGET, {"after": FORGET_AFTER})


def take(connection: BaseDatabaseWrapper, seen: Seen, worker_id: uuid.UUID) -> Grant | None:
    """Host an instance; return None if another worker was faster, or it is not to run any more."""
    params = {"name": seen.name, "place": seen.place, "worker_id": worker_id, "seen": seen.fence}
    for fence, start_id, setup in rows(connection, TAKE, params):
        return Grant(seen.name, seen.place, fence, start_id, None if setup is None else bytes(setup))
    return None


def leave(connection: BaseDatabaseWrapper, grant: Grant, *, for_good: bool) -> None:
    """Host an instance no more.

    :param for_good: whether nobody else can take it.
    """
    execute(connection, LEAVE_FOR_GOOD if for_good else LEAVE, _mine(grant))


def end(connection: BaseDatabaseWrapper, grant: Grant, why: str) -> None:
    """Note that a background worker has stopped by itself, if it was not started again since."""
    execute(connection, END, {**_mine(grant), "start_id": grant.start_id, "why": why})


def note(connection: BaseDatabaseWrapper, news: Sequence[News]) -> None:
    """Write down what instances have done; nothing of those that others host by now."""
    params = {
        "names": arrays.texts([each.name for each in news]),
        "places": arrays.texts([each.place for each in news]),
        "fences": arrays.numbers([each.fence for each in news]),
        "runs": arrays.numbers([each.runs for each in news]),
        "errors": arrays.numbers([each.errors for each in news]),
        "agos": arrays.numbers([each.ago for each in news]),
        "shown": arrays.texts([text(each.error, 20_000) for each in news]),
    }
    execute(connection, NOTE, params)


def _mine(grant: Grant) -> dict[str, object]:
    return {"name": grant.name, "place": grant.place, "fence": grant.fence}
