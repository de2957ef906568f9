"""Background workers with their instances, as pages and commands show them."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.background import HOSTED, PREFIX
from autotask.store.connection import in_utc, rows

#: Seconds after which nobody has one in its code that was not declared.
GONE_AFTER = 86400.0


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
    :ivar is_gone: whether no code has had it for a day.
    :ivar decided: whether somebody has decided whether it should run, and not just the code.
    """

    name: str
    kind: str
    per: str
    queue: str
    wanted: bool
    ended: str
    waiting: int
    is_gone: bool
    decided: bool
    instances: Sequence[Instance]


READ = f"""
SELECT b.name, b.kind, b.per, b.queue, b.wanted, b.ended,
       (SELECT count(*) FROM autotask_live t
        WHERE t.name = %(prefix)s || b.name AND t.executor = 'background' AND t.state <> 2)
       + (SELECT count(*) FROM autotask_background_trigger t WHERE t.name = b.name),
       b.declared_at < clock_timestamp() - %(gone_after)s * interval '1 s', b.decided,
       i.place, CASE WHEN {HOSTED.format("i")} THEN i.worker_id END, i.host, i.pid, i.began_at AT TIME ZONE 'UTC', i.runs, i.errors,
       i.last_run_at AT TIME ZONE 'UTC', i.last_error, i.last_error_at AT TIME ZONE 'UTC'
FROM autotask_background b LEFT JOIN autotask_background_instance i ON i.name = b.name
WHERE %(only)s::text IS NULL OR b.name = %(only)s
ORDER BY b.name, i.place
"""


# A new one is declared as soon as a worker has its code.
ORPHANS = """
SELECT substr(t.name, length(%(prefix)s) + 1), count(*) FROM autotask_live t
WHERE t.executor = 'background' AND t.state = 1 AND starts_with(t.name, %(prefix)s) AND NOT EXISTS (
    SELECT 1 FROM autotask_background b
    WHERE %(prefix)s || b.name = t.name AND b.declared_at > clock_timestamp() - %(gone_after)s * interval '1 s')
GROUP BY t.name ORDER BY count(*) DESC, t.name
"""


def orphans(connection: BaseDatabaseWrapper) -> list[tuple[str, int]]:
    """Return the names of background workers that no code has, but for which messages wait, and how many do."""
    return [(name, count) for name, count in rows(connection, ORPHANS, {"prefix": PREFIX, "gone_after": GONE_AFTER})]


def read(connection: BaseDatabaseWrapper, only: str | None = None) -> list[StoredBackground]:
    """Return the background workers by name, with their instances.

    :param only: the name of one; None: all.
    """
    found: dict[str, StoredBackground] = {}
    instances: dict[str, list[Instance]] = {}
    for name, *facts, place, worker_id, host, pid, began_at, runs, errors, run_at, error, error_at in rows(
        connection, READ, {"prefix": PREFIX, "only": only, "gone_after": GONE_AFTER}
    ):
        mine = instances.setdefault(name, [])
        kind, per, queue, wanted, ended, waiting, is_gone, decided = facts
        found.setdefault(name, StoredBackground(name, kind, per, queue, wanted, ended, waiting, is_gone, decided, mine))
        if place is not None:
            mine.append(
                Instance(
                    *(place, worker_id, host, pid, in_utc(began_at), runs, errors, in_utc(run_at), error),
                    in_utc(error_at),
                )
            )
    return list(found.values())
