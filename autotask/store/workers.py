"""The register of running workers: sign on, heartbeat, sign off."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, rows

#: The number of tasks that a worker runs, next to a row of the register. A claim may still have the id of a task that has ended.
RUNNING = """(
SELECT count(*) FROM autotask_running r JOIN autotask_task t ON t.id = r.id WHERE r.worker_id = autotask_worker.id
)"""


@dataclass(frozen=True, slots=True)
class WorkerIdentity:
    """The entry of a worker in the register.

    :ivar boot_id: identifies the boot of the host and the namespace of process ids, so that two workers with the same one
        can look each other up by process id.
    :ivar executors: the pools besides its threads.
    :ivar pid_started: when the process began, as the host counts; a process id alone may be reused.
    :ivar serves_pid: the Django process whose companion it is; None for a dedicated worker.
    :ivar zone_data: version and source of its time zone data.
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
class Register:
    """The other workers, as one look at the register shows them.

    :ivar neighbours: those on the same host.
    :ivar overdue: whether the lease of any worker at all has run out.
    """

    neighbours: Sequence[Neighbour]
    overdue: bool


@dataclass(frozen=True, slots=True)
class Serving:
    """The queues and pools of a dedicated worker.

    :ivar queues: as registered, see :mod:`autotask.queues`.
    :ivar executors: the pools besides its threads.
    """

    queues: str
    executors: tuple[str, ...]


# This may run twice: the answer to the first time may have been lost. The commit does not wait for the disk: a crash of the server
# loses the entry only if it also loses all that the worker has done since, and then the next beat finds that it is missing.
SIGN_ON = """
INSERT INTO autotask_worker (id, kind, host, boot_id, pid, pid_started, serves_pid, queues, threads, version, executors,
                             zone_data, started_at, seen_at, lease_until)
SELECT %(id)s, %(kind)s, %(host)s, %(boot_id)s, %(pid)s, %(pid_started)s, %(serves_pid)s, %(queues)s, %(threads)s,
       %(version)s, %(executors)s, %(zone_data)s, clock_timestamp(), clock_timestamp(), clock_timestamp() + %(lease)s * interval '1 s'
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
"""

# A rescue deletes the row of a worker together with taking its tasks: as long as the row exists, nothing was rescued, and
# the lease may be renewed even if it had run out. Only the tiny table is touched, and no index: a HOT update.
# A crash of the server may lose it, as the next one comes soon, so its commit waits neither for the disk nor for a
# synchronous standby: while that is away no other commit ends, but the workers are alive.
BEAT = """
UPDATE autotask_worker
SET seen_at = clock_timestamp(), lease_until = clock_timestamp() + %(lease)s * interval '1 s', stopping = %(stopping)s,
    idle = %(idle)s, line = %(line)s
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE id = %(id)s
RETURNING NULL::uuid, NULL::int, NULL::bigint, NULL::boolean, NULL::boolean
"""

# Not part of the beat: while the table of tasks is locked, as by migrations, leases are still renewed.
TO_BE_CANCELLED = """
SELECT t.id FROM autotask_claim c CROSS JOIN LATERAL unnest(c.ids) AS u(id) JOIN autotask_task t ON t.id = u.id
WHERE c.worker_id = %(id)s AND t.cancel_requested
"""

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

# Both in one statement: an idle worker sends few others.
BEAT_AND_OTHERS = f"WITH beat AS ({BEAT}) TABLE beat UNION ALL {OTHERS}"


def sign_on(connection: BaseDatabaseWrapper, worker: WorkerIdentity, lease: float) -> None:
    """Register a worker with a lease of *lease* seconds."""
    columns = {name: getattr(worker, name) for name in WorkerIdentity.__slots__}
    execute(
        connection,
        SIGN_ON,
        {**columns, "queues": ",".join(worker.queues), "executors": ",".join(worker.executors), "lease": lease},
    )


def beat(
    connection: BaseDatabaseWrapper,
    id: uuid.UUID,
    *,
    lease: float,
    stopping: bool = False,
    idle: bool = False,
    line: str = "",
    host: str = "",
    boot_id: str = "",
) -> Register | None:
    """Renew the lease of a worker; return what the register says of others, or None if the worker was no longer in it.

    :param idle: whether it is enough to notify just this worker of a task.
    :param line: the mark of the line on which it can be handed tasks, see :mod:`autotask.lines`; "" if it cannot.
    :param host: with *boot_id*, those of the worker, so that its neighbours are found.
    """
    said = {"stopping": stopping, "idle": idle, "line": line}
    found = rows(connection, BEAT_AND_OTHERS, {"id": id, "host": host, "boot_id": boot_id, "lease": lease, **said})
    others = [row for row in found if row[0] is not None]
    if len(others) == len(found):
        return None
    neighbours = [Neighbour(id, pid, started) for id, pid, started, here, _ in others if here]
    return Register(neighbours, any(overdue for *_, overdue in others))


def to_be_cancelled(connection: BaseDatabaseWrapper, id: uuid.UUID) -> list[uuid.UUID]:
    """Return the running tasks of a worker that should be cancelled."""
    return [row[0] for row in rows(connection, TO_BE_CANCELLED, {"id": id})]


def sign_off(connection: BaseDatabaseWrapper, id: uuid.UUID) -> None:
    """Remove a worker that no longer holds a task from the register."""
    execute(connection, SIGN_OFF, {"id": id})


def dedicated(connection: BaseDatabaseWrapper) -> list[Serving]:
    """Return the queues and pools of the dedicated workers that are alive and take tasks."""
    return [Serving(queues, tuple(executors.split(","))) for queues, executors in rows(connection, DEDICATED)]
