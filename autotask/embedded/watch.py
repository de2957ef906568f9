"""The watcher: stops a server when its last user is gone. A separate program, with the standard library only.

It has to outlive the users, since all of them may be killed at once. The kernel reports that they are gone: each user
shares a lock on a file, and the watcher waits for an exclusive one. The kernel releases the locks of a process however it
dies, so there is no list of users that could be wrong, nothing to poll, and no process id that could be reused.

It is started with three open files (see ``server.ensure_watched``): ``users``, which it waits for; ``watcher``, whose
inherited lock shows that there is a watcher; and ``server``, which PostgreSQL's own processes hold. It is started in the
server's folder and uses only relative paths, so the folder may be moved.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from contextlib import suppress

GRACE = 3  # seconds without a user: longer than runserver takes to start its next child
NOTICES_WITHIN = 120.0  # seconds until PostgreSQL sees that its data was deleted: it looks once a minute
FAST = 30.0  # seconds for a shutdown that keeps everything, before one that leaves recovery to the next start


def main(users: int, watcher: int, server: int, uid: int, gid: int, grace: int) -> None:
    """Detach, watch, stop the server and exit."""
    if os.fork():  # a child of init: as Django's it would be a zombie, or meet somebody's waitpid(-1)
        os._exit(0)
    os.setsid()  # Ctrl-C in the terminal is for the users
    print(os.getpid(), flush=True)  # its log begins with its pid
    if os.geteuid() == 0 and uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    sockets = socket_folder()
    wait_for_last(users, grace)
    if os.fstat(users).st_nlink:
        stop(os.path.join("data", "postmaster.pid"), server)
    # If not, the folder was deleted, and PostgreSQL notices that itself.
    if became_free(server, NOTICES_WITHIN):
        remove(socket_folder() or sockets)
    # In this order: the next user must not meet a watcher that is about to exit.
    os.close(watcher)
    os.close(users)


def wait_for_last(users: int, grace: int) -> None:
    """Return with the users' file locked, once nobody has had it for a while; then no user can join."""
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(grace)
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def stop(pid_file: str, server: int) -> None:
    """Stop the server with a signal: its programs may be gone with a virtual environment."""
    for request, seconds in ((signal.SIGINT, FAST), (signal.SIGQUIT, FAST)):
        deadline = time.monotonic() + seconds
        if not is_free(server):
            with suppress(OSError, ValueError, IndexError), open(pid_file) as file:
                os.kill(int(file.readline()), request)
        while not is_free(server) and time.monotonic() < deadline:
            time.sleep(0.05)


def socket_folder() -> str:
    """The folder of the server's socket, which is in /tmp; "" if there is no link to it."""
    with suppress(OSError):
        return os.readlink("socket")
    return ""


def remove(sockets: str) -> None:
    """Delete the folder of the socket: nobody uses it now, and the next start makes another one."""
    with suppress(OSError):
        for left in (".s.PGSQL.5432", ".s.PGSQL.5432.lock"):  # by a server that was killed
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(sockets, left))
        os.rmdir(sockets)
        os.unlink("socket")


def became_free(server: int, seconds: float) -> bool:
    """Return whether all processes of the server ended within *seconds*."""
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
