"""The watcher: stops a server when its last user is gone. A program of its own, with the standard library only.

It has to outlive the users, since all of them may be killed at once. It learns that they are gone from the kernel: each
user shares a lock on a file, and the watcher waits to have that file alone. The kernel takes a lock away from whoever
dies, however that happens, so there is no list of users that could be wrong, nothing to poll, and nothing that a
recycled process id could confuse.

It is started with three files open (see ``server.ensure_watched``): ``users``, which it waits for; ``watcher``, whose
lock it inherits and which says that there is a watcher; and ``server``, which PostgreSQL's own processes hold. It is
started in the server's folder and has no path but from there, so the folder may be moved.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

GRACE = 3  # seconds without a user: longer than runserver takes to start its next child
NOTICES_WITHIN = 120.0  # seconds in which PostgreSQL sees that its data were deleted: it looks once a minute
FAST = 30.0  # seconds for a shutdown that keeps everything, before one that leaves recovery to the next start


def main(users: int, watcher: int, server: int, uid: int, gid: int, grace: int) -> None:
    """Become a process of its own, watch, stop the server and end."""
    if os.fork():  # init's child rather than Django's, where it would be a zombie, or meet somebody's waitpid(-1)
        os._exit(0)
    os.setsid()  # Ctrl-C in the terminal is for the users
    print(os.getpid(), flush=True)  # its log begins with who it is
    if os.geteuid() == 0 and uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    sockets = socket_folder()
    wait_for_last(users, grace)
    if os.fstat(users).st_nlink:
        stop(os.path.join("data", "postmaster.pid"), server)
    # Else the folder was deleted, and PostgreSQL finds out by itself.
    if became_free(server, NOTICES_WITHIN):
        remove(socket_folder() or sockets)
    # In this order: the next user must not meet a watcher that is about to leave.
    os.close(watcher)
    os.close(users)


def wait_for_last(users: int, grace: int) -> None:
    """Return with the users' file locked, once nobody has had it for a while; no user can come in from then on."""
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(grace)
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def stop(pid_file: str, server: int) -> None:
    """Stop the server by signal, for its programs may be gone: virtual environments are deleted."""
    for request, seconds in ((signal.SIGINT, FAST), (signal.SIGQUIT, FAST)):
        deadline = time.monotonic() + seconds
        if not is_free(server):
            with suppress(OSError, ValueError, IndexError), open(pid_file) as file:
                os.kill(int(file.readline()), request)
        while not is_free(server) and time.monotonic() < deadline:
            time.sleep(0.05)


def socket_folder() -> str:
    """The folder of the server's socket, which is in /tmp; empty where there is no link to it."""
    with suppress(OSError):
        return os.readlink("socket")
    return ""


def remove(sockets: str) -> None:
    """Delete the folder of the socket: nobody has its name any more, and the next start makes another one."""
    with suppress(OSError):
        for left in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):  # by a server that was killed
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(sockets, left))
        os.rmdir(sockets)
        os.unlink("socket")


def became_free(server: int, seconds: float) -> bool:
    """Wait until no process of the server is left; return whether that came within *seconds*."""
    deadline = time.monotonic() + seconds
    while not is_free(server):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
    return True


def is_free(server: int) -> bool:
    """Whether no process of the server is left."""
    try:
        fcntl.flock(server, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(server, fcntl.LOCK_UN)
    return True


if __name__ == "__main__":
    main(*(int(number) for number in sys.argv[1:]))
