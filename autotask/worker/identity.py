"""The identity of this worker, and whether another one on the same host still lives."""

import os
import socket
import uuid

from django.conf import settings

from autotask import __version__
from autotask.schedules import zone_data
from autotask.store.workers import Neighbour, WorkerIdentity


def make_identity(
    *, kind: str, serves_pid: int | None, queues: tuple[str, ...], threads: int, executors: tuple[str, ...] = ()
) -> WorkerIdentity:
    """Return a new identity for this process. A worker that has lost its lease needs a new one."""
    return WorkerIdentity(
        id=uuid.uuid4(),
        kind=kind,
        host=socket.gethostname(),
        boot_id=_boot_id(),
        pid=os.getpid(),
        pid_started=started(os.getpid()) or 0,
        serves_pid=serves_pid,
        queues=queues,
        threads=threads,
        version=__version__,
        executors=executors,
        zone_data=str(zone_data.named(settings.TIME_ZONE) or ""),
    )


def is_gone(neighbour: Neighbour) -> bool:
    """Whether a worker on this host is certainly dead; where that cannot be known, it counts as alive."""
    if neighbour.pid_started == 0 or _is_hidden(neighbour.pid):
        return False
    return started(neighbour.pid) != neighbour.pid_started


def started(pid: int) -> int | None:
    """Return when a process began, in clock ticks since boot; None if there is none, or it is dead and not yet reaped.

    Source: proc(5), /proc/pid/stat, fields 3 (state) and 22 (starttime), counted after the name, which may contain anything.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def _is_hidden(pid: int) -> bool:
    """Whether the process exists but is hidden, because /proc shows users only their own processes (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not os.path.exists(f"/proc/{pid}/stat")
    except OSError:
        return False
    return False


def _boot_id() -> str:
    # Process ids are unique only within one boot and one namespace: two containers may each have a process 7.
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex
