"""The register of living workers: sign on, heartbeat, sign off."""

import uuid
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, rows


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """What a worker tells about itself.

    :ivar boot_id: names the boot of the host and the namespace of its process ids, so that two workers with the same
        one can look each other up by process id.
    :ivar executors: the pools that it has beside its threads.
    :ivar pid_started: when the process began, as the host counts; a process id alone may have been used again.
    :ivar serves_pid: the Django process whose companion it is; None for a dedicated worker.
    :ivar zone_data: version and source of the data of time zones that it uses.
    """

    id: uuid.UUID
    kind: str
    host: str
    boot_id: str
    pid: int
    pid_started: int
    serves_pid: int | None
    queues: tuple[str, ...]
    threads: int
    version: str
    executors: tuple[str, ...] = ()
    zone_data: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another worker on the same host."""

    id: uuid.UUID
    pid: int
    pid_started: int


@dataclass(frozen=True, slots=True)
class Serving:
    """What a dedicated worker serves.

    :ivar queues: as it is registered, see :mod:`autotask.queues`.
    :ivar executors: the pools that it has beside its threads.
    """

    queues: str
    executors: tuple[str, ...]


# It may be said twice: the answer to the first time may have been lost.
SIGN_ON = """
INSERT INTO autotask_worker (id, kind, host, boot_id, pid, pid_started, serves_pid, queues, threads, version, executors,
                             zone_data, started_at, seen_at, lease_until)
VALUES (%(id)s, %(kind)s, %(host)s, %(boot_id)s, %(pid)s, %(pid_started)s, %(serves_pid)s, %(queues)s, %(threads)s,
        %(version)s, %(executors)s, %(zone_data)s, clock_timestamp(), clock_timestamp(), clock_timestamp() + %(lease)s * interval '1 s')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
"""

# A rescue takes the row of a worker together with its tasks: as long as the row is there, nothing was given away, and
# the lease may be renewed even if it had run out. Only the tiny table is touched, and no index: a HOT update.
# It may be lost when the server crashes, as the next one comes soon, so its commit waits neither for the disk nor for a
# synchronous standby: while that is away no other commit ends, but the workers are alive.
BEAT = """
UPDATE autotask_worker
SET seen_at = clock_timestamp(), lease_until = clock_timestamp() + %(lease)s * interval '1 s', stopping = %(stopping)s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE id = %(id)s
"""

# Not a part of the beat: while somebody locks the table of tasks, as migrations do, leases are renewed all the same.
TO_BE_CANCELLED = "SELECT id FROM autotask_task WHERE worker_id = %(id)s AND state = 2 AND cancel_requested"

SIGN_OFF = "DELETE FROM autotask_worker WHERE id = %(id)s"

DEDICATED = """
SELECT queues, executors FROM autotask_worker
WHERE kind = 'worker' AND NOT stopping AND lease_until > clock_timestamp() ORDER BY id
"""

OTHERS = """
SELECT id, pid, pid_started, host = %(host)s AND boot_id = %(boot_id)s, lease_until < clock_timestamp()
FROM autotask_worker
WHERE id <> %(id)s AND (host = %(host)s AND boot_id = %(boot_id)s OR lease_until < clock_timestamp())
"""


def sign_on(connection: BaseDatabaseWrapper, worker: WorkerIdentity, lease: float) -> None:
    """Enter a worker in the register with a lease of so many seconds."""
    columns = {name: getattr(worker, name) for name in WorkerIdentity.__slots__}
    execute(
        connection,
        SIGN_ON,
        {**columns, "queues": ",".join(worker.queues), "executors": ",".join(worker.executors), "lease": lease},
    )


def beat(connection: BaseDatabaseWrapper, id: uuid.UUID, *, lease: float, stopping: bool) -> bool:
    """Renew the lease of a worker.

    :returns: whether it could be; not when the worker is not registered any more.
    """
    return bool(execute(connection, BEAT, {"id": id, "lease": lease, "stopping": stopping}))


def to_be_cancelled(connection: BaseDatabaseWrapper, id: uuid.UUID) -> list[uuid.UUID]:
    """Return those of the tasks that a worker runs that are to be cancelled."""
    return [row[0] for row in rows(connection, TO_BE_CANCELLED, {"id": id})]


def sign_off(connection: BaseDatabaseWrapper, id: uuid.UUID) -> None:
    """Take a worker that holds no task any more out of the register."""
    execute(connection, SIGN_OFF, {"id": id})


def others(connection: BaseDatabaseWrapper, worker: WorkerIdentity) -> tuple[list[Neighbour], bool]:
    """Return the other workers that run on the same host, and whether the lease of any worker at all has run out."""
    params = {"host": worker.host, "boot_id": worker.boot_id, "id": worker.id}
    found = rows(connection, OTHERS, params)
    neighbours = [Neighbour(id, pid, started) for id, pid, started, here, _ in found if here]
    return neighbours, any(overdue for *_, overdue in found)


def dedicated(connection: BaseDatabaseWrapper) -> list[Serving]:
    """Return what the dedicated workers serve that live and take tasks."""
    return [Serving(queues, tuple(executors.split(","))) for queues, executors in rows(connection, DEDICATED)]
