"""The Django process's side of a family: the processes of one server that share a guard; Linux only.

The first of them listens at an abstract address, hands that over to the guard that it starts, and the others connect to it.
The one that binds the address first is the first, and a connection waits until the guard has started. So no two of them start
guards for each other.
"""

import contextlib
import hashlib
import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence

from autotask.companion.pipes import Pipes
from autotask.processes import packets

#: Seconds in which a guard that was just started has to answer.
ANSWERS_WITHIN = 20.0

#: The properties that processes must have in common to share a guard, besides their environment. Source: proc(5).
_FILES = ("/proc/self/limits", "/proc/self/cgroup")
_LINKS = tuple(f"/proc/self/ns/{name}" for name in ("cgroup", "ipc", "mnt", "net", "pid", "user"))
_STATUS = ("Umask", "Uid", "Gid", "Groups", "CapEff", "NoNewPrivs", "Cpus_allowed")


class Membership:
    """A guard that another process has started.

    :param line: the socket to it, whose end tells each side that the other one is gone.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def wait(self) -> int:
        """Wait for the end of the guard; return its exit status, which nobody here knows."""
        with self._line, contextlib.suppress(OSError):
            packets.receive(self._line)
        return 0

    def forget(self) -> None:
        """Close the socket in a fork of this process."""
        self._line.close()


def address(environment: Mapping[str, str], command: Sequence[str]) -> str | None:
    """Return the address where processes meet that would start the same guard for the same server; None if they cannot.

    :param command: that of the guard, as far as all have it in common, and what else they must have in common.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):  # Python may be built for older kernels
        return None
    parent = os.getppid()
    try:
        os.close(os.pidfd_open(os.getpid()))
        same = [dict(environment), list(command), parent, _started_at(parent), _circumstances()]
    except OSError:  # an old kernel, or a sandbox
        return None
    # Everybody can read the address in /proc/net/unix. Among what it hides is SECRET_KEY, or short secrets could be guessed from it.
    return f"\0autotask-{hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()}"


def listen(address: str) -> socket.socket | None:
    """Return a socket that listens; None if another process does already.

    :raises OSError: there are no more descriptors.
    """
    listener = socket.socket(socket.AF_UNIX, packets.KIND)
    try:
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        return None
    return listener


def join(address: str, pipes: Pipes, grace: float) -> Membership | None:
    """Ask the guard that listens to keep a companion for this process, too; return None if it does not.

    :param grace: seconds that the worker gets to finish its tasks.
    """
    line = socket.socket(socket.AF_UNIX, packets.KIND)
    try:
        line.settimeout(ANSWERS_WITHIN)
        line.connect(address)
        if _user_of(line) == os.geteuid():
            packets.send(line, {"grace": grace}, [pipes.wake, *pipes.offers])
            if packets.receive(line) is not None:
                line.settimeout(None)
                return Membership(line)
    except OSError:  # it ends, or does not answer
        pass
    line.close()
    return None


def _circumstances() -> list[object]:
    """Return the properties that a guard and its workers inherit from the process that starts them, for comparison."""
    found: list[object] = [_identity(1), _identity(2), _identity(".")]
    for path in _FILES:
        with open(path, encoding="utf-8", errors="replace") as file:
            found.append(file.read())
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        found += [line for line in file if line.partition(":")[0] in _STATUS]
    return [*found, *map(os.readlink, _LINKS)]


def _identity(file: int | str) -> list[int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return [found.st_dev, found.st_ino, found.st_rdev]


def _started_at(pid: int) -> str:
    """Return when a process has started: its number may have been that of another one before.

    Source: proc(5), /proc/pid/stat, field 22 (starttime), counted after the name, which may contain anything.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19]


def _user_of(line: socket.socket) -> int:
    """Return the user id of the other side. Source: unix(7), SO_PEERCRED."""
    _, user, _ = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)
