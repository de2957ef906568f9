"""The workers that host background workers, as caretakers see and change them.

An instance belongs to its host as long as that is registered: a rescue removes a dead worker from the register, and so lets
others take its instances. Each take gives it a new fence, by which a former host is refused.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, ready
from autotask.store.background import DECLARE_EVERY, HOSTED, LOCKS, PREFIX, Declared
from autotask.store.connection import execute, rows, text

#: Seconds after which one is forgotten that nobody declares.
FORGET_AFTER = 86400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of one background worker, and of its instance at one place.

    :ivar wanted: whether it should run; None: it is not declared yet.
    :ivar decided: whether somebody has decided that, and not just the code.
    :ivar start_id: identifies the current start.
    :ivar is_stale: whether it should be declared again.
    :ivar fence: of the last take of the instance; None: nobody has taken it.
    :ivar host: the registered worker that hosts it; None: there is none.
    :ivar waits: whether messages wait.
    """

    name: str
    place: str
    wanted: bool | None
    decided: bool
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
    """The runs of an instance since they were last written down.

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


# Missing rows have NULLs: the caretaker declares them.
LOOK = f"""
SELECT d.name, d.place, b.wanted, coalesce(b.decided, false), b.start_id,
       coalesce(b.declared_at < clock_timestamp() - %(declare_every)s * interval '1 s', true),
       i.fence, CASE WHEN {HOSTED.format("i")} THEN i.worker_id END,
       EXISTS (SELECT 1 FROM autotask_task t JOIN autotask_ready r ON {ready.IS_OF}
               WHERE t.name = %(prefix)s || d.name AND t.executor = 'background' AND t.state = 1)
       OR EXISTS (SELECT 1 FROM autotask_background_trigger t WHERE t.name = d.name AND t.place = d.place),
       (SELECT count(*) FROM autotask_worker WHERE lease_until > clock_timestamp() AND NOT stopping)
FROM unnest(%(names)s::text[], %(places)s::text[]) AS d(name, place)
LEFT JOIN autotask_background b ON b.name = d.name
LEFT JOIN autotask_background_instance i ON i.name = d.name AND i.place = d.place
"""

# A caller that starts or stops one in a long transaction must not hold up the caretakers: locked rows are skipped, and so are
# those that somebody else is inserting.
DECLARE_NEW = f"""
INSERT INTO autotask_background (name, kind, per, queue, wanted, start_id, declared_at)
SELECT d.name, d.kind, d.per, d.queue, d.autostart, d.start_id, clock_timestamp()
FROM unnest(%(names)s::text[], %(kinds)s::text[], %(pers)s::text[], %(queues)s::text[], %(autostarts)s::boolean[],
            %(ids)s::uuid[]) AS d(name, kind, per, queue, autostart, start_id)
WHERE pg_try_advisory_xact_lock({LOCKS}, hashtext(d.name))
ON CONFLICT (name) DO NOTHING
"""

# As long as nobody has decided, it starts once the code says so. Older code stops nothing that newer code has started.
DECLARE_AGAIN = """
WITH mine AS MATERIALIZED (
    SELECT b.name FROM autotask_background b WHERE b.name = ANY(%(names)s::text[]) ORDER BY b.name FOR UPDATE SKIP LOCKED
)
UPDATE autotask_background b
SET kind = d.kind, per = d.per, queue = d.queue, declared_at = clock_timestamp(),
    wanted = b.wanted OR (d.autostart AND NOT b.decided),
    start_id = CASE WHEN d.autostart AND NOT b.decided AND NOT b.wanted THEN d.start_id ELSE b.start_id END
FROM unnest(%(names)s::text[], %(kinds)s::text[], %(pers)s::text[], %(queues)s::text[], %(autostarts)s::boolean[],
            %(ids)s::uuid[]) AS d(name, kind, per, queue, autostart, start_id)
WHERE b.name = d.name AND b.name IN (SELECT name FROM mine)
"""

# A decision of somebody lasts.
FORGET = f"""
WITH gone AS (
    DELETE FROM autotask_background WHERE NOT decided AND declared_at < clock_timestamp() - %(after)s * interval '1 s' RETURNING name
)
DELETE FROM autotask_background_instance i
WHERE NOT {HOSTED.format("i")}
  AND (i.name IN (SELECT name FROM gone)
       OR (i.place <> '' AND (i.place NOT LIKE '%% %%' OR i.taken_at < clock_timestamp() - %(after)s * interval '1 s')))
"""

# Of instances that are gone.
FORGET_TRIGGERS = """
DELETE FROM autotask_background_trigger t
WHERE NOT EXISTS (SELECT 1 FROM autotask_background_instance i WHERE i.name = t.name AND i.place = t.place)
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
WHERE i.fence IS NOT DISTINCT FROM %(seen)s::bigint AND NOT {HOSTED.format("i")}
RETURNING i.fence, i.start_id, (SELECT setup FROM b)
"""

LEAVE = """
UPDATE autotask_background_instance SET worker_id = NULL, began_at = NULL
WHERE name = %(name)s AND place = %(place)s AND fence = %(fence)s
"""

LEAVE_FOR_GOOD = """
DELETE FROM autotask_background_instance WHERE name = %(name)s AND place = %(place)s AND fence = %(fence)s
"""

# Only the current start is over: somebody may have started it again.
END = """
UPDATE autotask_background b SET wanted = false, decided = true, ended = %(why)s, setup = NULL
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


def look(connection: BaseDatabaseWrapper, places: Sequence[tuple[str, str]]) -> tuple[list[Seen], int]:
    """Return the state of background workers, and the number of running workers.

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


def declare(connection: BaseDatabaseWrapper, declared: Sequence[Declared], *, new: bool) -> int:
    """Say that the code has these background workers.

    :param new: whether they are not in the table yet.
    :returns: how many rows were written; those that other sessions are writing are left out.
    """
    params = {
        "names": arrays.texts([each.name for each in declared]),
        "kinds": arrays.texts([each.kind for each in declared]),
        "pers": arrays.texts([each.per for each in declared]),
        "queues": arrays.texts([each.queue for each in declared]),
        "autostarts": arrays.flags([each.autostart for each in declared]),
        "ids": arrays.uuids([uuid.uuid4() for _ in declared]),
    }
    return execute(connection, DECLARE_NEW if new else DECLARE_AGAIN, params)


def forget(connection: BaseDatabaseWrapper) -> None:
    """Delete background workers that nobody has declared for a day and nobody has decided about, and the instances of workers
    and hosts that are gone."""
    execute(connection, FORGET, {"after": FORGET_AFTER})
    execute(connection, FORGET_TRIGGERS)


def take(connection: BaseDatabaseWrapper, seen: Seen, worker_id: uuid.UUID) -> Grant | None:
    """Host an instance; return None if another worker was faster, or it is no longer to run."""
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
