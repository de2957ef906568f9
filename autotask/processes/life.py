"""Tie one process's life to another's, and keep signals away from others; standard library only."""

import ctypes
import os
import signal
import sys
import threading

#: From linux/prctl.h: deliver a signal when the parent dies.
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: int) -> None:
    """Have the kernel send this process a signal when its parent dies; exit at once if it has died already.

    Only Linux has this: elsewhere, the pipe to the Django process and polling of the parent's id have to do.

    :param parent: the process id of the parent when it started this process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)
    if is_orphan(parent):
        sys.exit(0)


def is_orphan(parent: int) -> bool:
    """Whether the parent has died. The new parent need not be process 1, so the former id is compared."""
    return os.getppid() != parent


def ignore_interrupts() -> None:
    """Leave Ctrl-C, which a terminal sends to all of its processes, to the Django process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def forget_signals() -> None:
    """Let signals end a fork of a worker, which would otherwise pass them to the worker or ignore them."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
