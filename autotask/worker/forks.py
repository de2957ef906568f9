"""Processes that a task has forked: they are to do nothing that belongs to the worker."""

import contextlib
import os
import sys
import traceback

#: How many forks lie between the start of the program and this process.
generation = 0


def end() -> None:
    """End this process, which a task has forked, as the function of the task leaves: by a value, or by an exception.

    Otherwise it would go on as a second copy of the worker: with its connections, its pipes and the task's outcome. It ends
    as Python ends a program: with a traceback and status 1 after an exception, and as ``sys.exit()`` says.
    """
    error = sys.exception()
    status = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        status = error.code or 0
    elif error is not None:
        status = 1
        with contextlib.suppress(BaseException):
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(status & 0xFF)


def _count() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_count)
