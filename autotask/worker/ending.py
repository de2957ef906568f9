"""How the process of a worker ends: like any other, but within a few seconds, whatever its tasks have left behind."""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

logger = logging.getLogger("autotask.worker")

#: Seconds that threads and child processes get which tasks have left behind. The interpreter would wait for them for ever.
LEFT_BEHIND_WITHIN = 2.0

#: Seconds that functions registered with ``atexit`` get: those of Sentry and coverage send or write what they have.
HOOKS_WITHIN = 3.0

#: Seconds after all this until the kernel ends a process in which not even a thread can run any more.
LAST_RESORT = 1.0


def begin(status: int) -> None:
    """See to it that this process ends soon. All outcomes are written, and the caller is about to leave the interpreter.

    :param status: the exit status of the process, should it have to be ended.
    """
    hooks_have_begun = threading.Event()
    atexit.register(hooks_have_begun.set)
    _end_by_alarm(LEFT_BEHIND_WITHIN + HOOKS_WITHIN + LAST_RESORT)
    try:
        threading.Thread(
            target=_end_late, args=(LEFT_BEHIND_WITHIN + HOOKS_WITHIN, status), name="autotask-end", daemon=True
        ).start()
        threading.Thread(target=_push, args=(hooks_have_begun, status), name="autotask-push", daemon=True).start()
    except (RuntimeError, MemoryError):  # no more threads, and so nobody who could cut off a wait
        leave(status)


def now(status: int) -> NoReturn:
    """End this process at once, without waiting for threads; functions registered with ``atexit`` are called."""
    _end_by_alarm(HOOKS_WITHIN + LAST_RESORT)
    _kill_children()
    with contextlib.suppress(RuntimeError, MemoryError):  # No more threads: what blocks is ended by the alarm.
        threading.Thread(target=_end_late, args=(HOOKS_WITHIN, status), name="autotask-end", daemon=True).start()
    atexit._run_exitfuncs()
    leave(status)


def leave(status: int) -> NoReturn:
    """End this process at once. Only what logging and the standard streams hold back is still written."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # It may have been closed, or nobody reads it any more.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _end_by_alarm(seconds: float) -> None:
    # The one thing that ends a process whose interpreter is stuck in a call of C.
    with contextlib.suppress(ValueError):  # In a thread, where a test runs it, signals cannot be handled.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _end_late(seconds: float, status: int) -> None:
    time.sleep(seconds)
    leave(status)


def _push(hooks_have_begun: threading.Event, status: int) -> None:
    """End what the interpreter waits for, and call the functions of ``atexit`` if it does not come to that."""
    time.sleep(LEFT_BEHIND_WITHIN)
    logger.warning("worker %d has stopped; what tasks have left behind keeps it from ending: %s", os.getpid(), _left())
    _kill_children()
    if not hooks_have_begun.wait(LAST_RESORT):
        atexit._run_exitfuncs()
        leave(status)


def _left() -> str:
    """Return in words what the interpreter waits for."""
    main = threading.main_thread()
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
    children = [f"process {child.pid}" for child in _children()]
    return ", ".join([*(f"thread {name}" for name in threads), *children]) or "a function registered with atexit"


def _children() -> list[Any]:
    # It need not be loaded to find that nothing of it was used.
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing.active_children() if multiprocessing else []


def _kill_children() -> None:
    # The interpreter asks those that are daemons to end, and waits for all of them before it calls older functions.
    for child in _children():
        child.kill()
