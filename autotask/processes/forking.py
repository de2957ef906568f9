"""Start a process as a fork of this one, which has loaded all that it needs; standard library only.

A fork has only the thread that has forked, shares the connections of its parent, and inherits its handlers of signals. So
:func:`obstacle` says whether this process may fork, and :func:`fork` leaves to the fork nothing that belongs to its parent.
"""

import contextlib
import errno
import functools
import logging
import os
import signal
import socket
import stat
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from autotask.processes.forked import ForkedProcess


def obstacle() -> str:
    """Return why this process must not be forked; "" if it may."""
    if sys.platform != "linux":
        return f"forks are not safe on {sys.platform}, where libraries of the system have threads"
    if threads := _other_threads():
        return f"something that the project imports has started threads ({', '.join(threads)})"
    if _has_connection():
        return "something that the project imports has opened a connection, or an event loop"
    return ""


def fork(main: Callable[[], None]) -> ForkedProcess:
    """Fork this process, which must have no :func:`obstacle`, in its main thread.

    :param main: what the fork does; it should end the process, which ends with status 1 otherwise.
    :raises OSError: there is no memory, or no room for one more process.
    """
    _flush()
    # A signal to the fork must not be counted by the parent's handler, of which the fork has a copy.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _go(main, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    # Here and in the fork: whichever is first, it has a group before anybody signals that.
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)
    return ForkedProcess(pid)


def fork_for(adopter: int, main: Callable[[], None]) -> int:
    """Fork this process like :func:`fork`; the parent of the fork becomes another process, which adopts orphans.

    :param adopter: the process id of an ancestor of this process, and its nearest one that adopts orphans.
    :param main: what the fork does as soon as it is adopted; if the adopter is gone, it exits instead.
    :returns: the process id of the fork.
    :raises OSError: there is no memory, or no room for two more processes.
    """
    reader, writer = os.pipe()
    try:
        between = fork(functools.partial(_fork_and_end, reader, writer, adopter, main))
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    with open(reader, "rb") as file:
        pid = file.read()
    between.wait()
    if not pid:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return int(pid)


def _fork_and_end(reader: int, writer: int, adopter: int, main: Callable[[], None]) -> None:
    os.close(reader)
    between = os.getpid()

    def adopted() -> None:
        os.close(writer)
        while (parent := os.getppid()) == between:
            time.sleep(0.0005)
        if parent != adopter:
            os._exit(0)
        main()

    try:
        os.write(writer, str(fork(adopted).pid).encode())
    except OSError:  # no room: the other side finds nothing in the pipe
        os._exit(1)
    os._exit(0)


def _go(main: Callable[[], None], mask: set[Any]) -> NoReturn:
    """Run the fork. It never returns to the program of its parent, whose blocks of ``finally`` are not for it."""
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _close_input()
        _renew_libraries()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        main()
    except SystemExit as end:
        if isinstance(end.code, int):
            os._exit(end.code)
    except BaseException:  # noqa: B036 - nothing above here may see it
        with contextlib.suppress(BaseException):
            traceback.print_exc()
            _flush()
    os._exit(1)


def _close_input() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def _renew_libraries() -> None:
    """Renew what does not notice a fork by itself, as the ``random`` of Python does."""
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    # Otherwise the end of the first fork would delete, for example, a TemporaryDirectory that a module has made.
    registered: Any = weakref.finalize
    for finalizer in list(registered._registry):
        finalizer.atexit = False


def _flush() -> None:
    """Write what is buffered, or the fork would write it again."""
    for handler in logging._handlerList[:]:  # type: ignore[attr-defined]  # all that logging.shutdown() flushes
        if (found := handler()) is not None:
            with contextlib.suppress(Exception):
                found.flush()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # nobody reads it now
            stream.flush()


def _other_threads() -> list[str]:
    """Return the names of all threads but this one, including those that Python does not know.

    Source: proc(5), /proc/pid/task/tid/comm.
    """
    names = []
    for thread in sorted(map(int, os.listdir("/proc/self/task"))):
        # Without the file, the thread has just ended.
        with contextlib.suppress(OSError), open(f"/proc/self/task/{thread}/comm") as file:
            if thread != os.getpid():
                names.append(file.read().strip())
    return names


def _has_connection() -> bool:
    """Whether something is open that two processes cannot share: a stream socket, or what an event loop waits with."""
    return any(_is_stream_socket(descriptor) or _is_poll(descriptor) for descriptor in _descriptors())


def _descriptors() -> Iterator[int]:
    """Yield all but the standard streams, which may be sockets, of systemd for example."""
    return (descriptor for descriptor in map(int, os.listdir("/proc/self/fd")) if descriptor > 2)


def _is_stream_socket(descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as found:
                return found.type == socket.SOCK_STREAM
    return False


def _is_poll(descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/self/fd/{descriptor}") in ("anon_inode:[eventpoll]", "anon_inode:[io_uring]")
    return False
