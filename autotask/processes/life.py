"""Tie one process's life to another's, and keep signals away from others; standard library only."""

import ctypes
import os
import signal
import sys
import threading

#: From linux/prctl.h: deliver a signal when the parent dies; name the main thread; adopt what descendants leave behind.
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int, signum: int) -> None:
    """Have the kernel send this process a signal when its parent dies; exit at once if it has died already.

    Only Linux has this: elsewhere, the pipe to the Django process and polling of the parent's id have to do. The signal comes when
    the thread ends that has started this process (findings/parent_death_signal_comes_when_a_thread_ends.sh), so that one has to last
    as long as this process is needed.

    :param parent: the process id of the parent when it started this process.
    """
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signum)
    if is_orphan(parent):
        sys.exit(0)


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parent dies, which then have to be reaped here. Linux only.

    :raises OSError: the kernel refuses it.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name(text: bytes) -> None:
    """Give this process a name of up to 15 bytes, as ``ps -e`` and ``top`` show it. Linux only."""
    _prctl(_PR_SET_NAME, text)


def _prctl(option: int, argument: int | bytes) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, argument, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def is_orphan(parent: int) -> bool:
    """Whether the parent has died. The new parent need not be process 1, so the former id is compared."""
    return os.getppid() != parent


def ignore_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to all of its processes, to the Django process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def forget_signals() -> None:
    """Let signals end a fork of a worker, which would otherwise pass them to the worker or ignore them.

    Servers do not do that (findings/children_of_servers_ignore_terminate.sh).
    """
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
