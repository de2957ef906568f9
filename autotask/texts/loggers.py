"""Log lines that foreign text cannot forge, and that cannot drive a terminal: what a task raises may say anything."""

import logging
import sys
import traceback
from collections.abc import Callable

from autotask.texts.lines import INDENT, indented

#: The loggers of autotask. That of a task's own lines is left to the author of the task.
LOGGERS = tuple(f"autotask{child}" for child in ("", ".companion", ".embedded", ".task", ".testing", ".worker"))


def keep_lines() -> None:
    """Let no line of autotask's loggers, nor of the tracebacks below it, look like another one."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep_lines)  # which does nothing the second time


def keep_going() -> None:
    """Let no filter and no handler of the project that raises reach the code of a worker that writes a line.

    ``logging`` catches only what the handlers of the standard library report by themselves. All else comes out where the line
    is written: in a thread of the worker, between the end of a task and its outcome.
    """
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not isinstance(logger.handle, _Guarded):
            logger.handle = _Guarded(logger.handle)  # type: ignore[method-assign]  # of this logger alone


class _Guarded:
    """What hands a record to filters and handlers, and survives that."""

    def __init__(self, handle: Callable[[logging.LogRecord], None]) -> None:
        self._handle = handle

    def __call__(self, record: logging.LogRecord) -> None:
        try:
            self._handle(record)
        except Exception:
            if sys.stderr is not None:
                print("A filter or handler of LOGGING failed at a line of autotask:", record.msg, file=sys.stderr)
                traceback.print_exc()


def _keep_lines(record: logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
    except Exception:  # of the arguments; the handlers report it
        return True
    if not message.isprintable():
        record.msg, record.args = indented(message), None
    # Formatters make the text of a traceback only where there is none yet.
    if record.exc_info and not record.exc_text:
        try:
            text = logging.Formatter().formatException(record.exc_info)
        except Exception as error:  # An exception may hide its causes, or its class its name.
            text = f"(its traceback cannot be shown: {type(error).__name__})"
        record.exc_text = INDENT + indented(text)
    return True
