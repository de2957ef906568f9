"""Processes that a task has forked: they must not continue as the worker."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

#: The number of forks between the start of the program and this process.
generation = 0


def call(function: Callable[..., Any], arguments: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """Call the function of a task; a process that it forks ends with it."""
    before = generation
    try:
        args, kwargs = arguments
        return function(*args, **kwargs)
    finally:
        if generation != before:
            end()


def end() -> None:
    """End this process, which a task has forked, when the function of the task returns or raises in it.

    Otherwise it would continue as a second copy of the worker: with its connections, its pipes and the task's outcome. It ends
    like a Python program: with a traceback and status 1 after an exception, or with the status of ``sys.exit()``.
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
