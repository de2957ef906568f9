"""End the process of a worker: like any other, but within a few seconds, whatever its tasks have left behind."""

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

#: Seconds for threads and child processes that tasks have left behind. The interpreter would wait for them forever.
LEFT_BEHIND_WITHIN = 2.0

#: Seconds for functions registered with ``atexit``: those of Sentry and coverage send or write their data.
HOOKS_WITHIN = 3.0

#: Seconds after that until the kernel ends a process in which no thread can run.
LAST_RESORT = 1.0


def begin(status: int) -> None:
    """Make sure that this process ends soon. All outcomes are written, and the caller is about to leave the interpreter.

    :param status: the exit status if the process has to be ended.
    """
    hooks_have_begun = threading.Event()
    atexit.register(hooks_have_begun.set)
    _end_by_alarm(LEFT_BEHIND_WITHIN + HOOKS_WITHIN + LAST_RESORT)
    try:
        threading.Thread(
            target=_end_late, args=(LEFT_BEHIND_WITHIN + HOOKS_WITHIN, status), name="autotask-end", daemon=True
        ).start()
        threading.Thread(target=_push, args=(hooks_have_begun, status), name="autotask-push", daemon=True).start()
    except (RuntimeError, MemoryError):  # no more threads, so nothing could cut off a wait
        leave(status)


def like_a_program(status: int) -> NoReturn:
    """End a fork as the interpreter ends a program: wait for threads, and call the functions registered with ``atexit``.

    Leaving the interpreter instead would run what the program of its parent does at its end, such as blocks of ``finally``.
    """
    begin(status)
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter calls first, from Python 3.9 to 3.14
    atexit._run_exitfuncs()
    leave(status)


def now(status: int) -> NoReturn:
    """End this process at once, without waiting for threads; call the functions registered with ``atexit``."""
    _end_by_alarm(HOOKS_WITHIN + LAST_RESORT)
    _kill_children()
    with contextlib.suppress(RuntimeError, MemoryError):  # No more threads: the alarm ends a function that blocks.
        threading.Thread(target=_end_late, args=(HOOKS_WITHIN, status), name="autotask-end", daemon=True).start()
    atexit._run_exitfuncs()
    leave(status)


def leave(status: int) -> NoReturn:
    """End this process at once, after flushing logging and the standard streams."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # It may have been closed, or nobody reads it now.
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _end_by_alarm(seconds: float) -> None:
    # Only this ends a process whose interpreter is stuck in a C call.
    with contextlib.suppress(ValueError):  # In a thread, where a test runs it, signals cannot be handled.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _end_late(seconds: float, status: int) -> None:
    time.sleep(seconds)
    leave(status)


def _push(hooks_have_begun: threading.Event, status: int) -> None:
    """Kill the children that the interpreter waits for, and call the functions of ``atexit`` if it does not."""
    time.sleep(LEFT_BEHIND_WITHIN)
    logger.warning("worker %d has stopped; its process waits for leftovers of tasks: %s", os.getpid(), _left())
    _kill_children()
    if not hooks_have_begun.wait(LAST_RESORT):
        atexit._run_exitfuncs()
        leave(status)


def _left() -> str:
    """Return the threads and processes that the interpreter waits for, as text."""
    main = threading.main_thread()
    threads = [thread.name for thread in threading.enumerate() if not thread.daemon and thread is not main]
    children = [f"process {child.pid}" for child in _children()]
    return ", ".join([*(f"thread {name}" for name in threads), *children]) or "a function registered with atexit"


def _children() -> list[Any]:
    # Where it is not loaded, no task has used it.
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing.active_children() if multiprocessing else []


def _kill_children() -> None:
    # The interpreter terminates daemons, and waits for all of them before it calls functions registered earlier.
    for child in _children():
        child.kill()
