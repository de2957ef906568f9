"""Log lines that foreign text cannot forge, and that cannot drive a terminal: an exception may have any text."""

import logging
import sys
import traceback
from collections.abc import Callable

from autotask.texts.lines import INDENT, indented

#: The loggers of autotask. Loggers for a task's own lines are left to its author.
LOGGERS = tuple(f"autotask{child}" for child in ("", ".companion", ".embedded", ".task", ".testing", ".worker"))


def keep_lines() -> None:
    """Keep messages and tracebacks of autotask's loggers from looking like other log lines."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep_lines)  # which does nothing the second time


def keep_going() -> None:
    """Keep exceptions of the project's filters and handlers out of the code that logs.

    ``logging`` catches only errors that the handlers of the standard library report. All others would be raised where the line
    is logged: in a thread of the worker, between the end of a task and its outcome.
    """
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not isinstance(logger.handle, _Guarded):
            logger.handle = _Guarded(logger.handle)  # type: ignore[method-assign]  # of this logger only


class _Guarded:
    """Passes a record to filters and handlers, and survives that."""

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
    except Exception:  # of the arguments' __str__; the handlers report it
        return True
    if not message.isprintable():
        record.msg, record.args = indented(message), None
    # Formatters keep a text of the traceback that is already there.
    if record.exc_info and not record.exc_text:
        try:
            text = logging.Formatter().formatException(record.exc_info)
        except Exception as error:  # The causes of an exception, or the name of its class, may raise.
            text = f"(its traceback cannot be shown: {type(error).__name__})"
        record.exc_text = INDENT + indented(text)
    return True
