"""Log records that only autotask sees: they lack what only other handlers show, which takes half of the time of a line."""

import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

_Logger = logging.Logger

#: The methods that see records on their way, as long as nobody has replaced them.
_handle, _call, _make = _Logger.handle, _Logger.callHandlers, _Logger.makeRecord

#: Those on the way to a record: see :mod:`autotask.worker.short_way`.
_log, _find = _Logger._log, _Logger.findCaller

#: The handlers for which light records are enough; none: all records are whole.
_ours: Collection[logging.Handler] = ()


class LightRecord(logging.LogRecord):
    """A record with time, level, logger, message and exception, and None in place of thread, process and file."""

    taskName = None

    def __init__(  # the parameters of the parent, whose own __init__ is what takes the time
        self,
        name: str,
        level: int,
        pathname: str,
        lineno: int,
        msg: Any,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        sinfo: str | None = None,
        **_: Any,
    ) -> None:
        if args and len(args) == 1 and isinstance(args[0], Mapping) and args[0]:
            args = args[0]  # as the parent does
        self.name, self.msg, self.args = name, msg, args
        self.levelname, self.levelno = logging.getLevelName(level), level
        self.exc_info, self.exc_text, self.stack_info = exc_info, None, sinfo
        self.pathname, self.lineno = pathname, lineno
        self.funcName = func  # type: ignore[assignment]  # the parent takes None as well
        self.created = time.time()
        # All names of whole records are there, so that a call may set no other fields than usual.
        self.filename = self.module = ""
        self.msecs = self.relativeCreated = 0.0
        self.thread = self.threadName = self.process = self.processName = None


def use(ours: Collection[logging.Handler]) -> None:
    """Make light records from now on where no other handler than these would get them. A project may make its own records.

    :param ours: handlers that need no more; none: all records are whole.
    """
    global _ours
    _ours = tuple(ours)
    if ours and logging.getLogRecordFactory() is logging.LogRecord:
        logging.setLogRecordFactory(_record)
    elif not ours and logging.getLogRecordFactory() is _record:
        logging.setLogRecordFactory(logging.LogRecord)


def _record(
    name: str,
    level: int,
    pathname: str,
    lineno: int,
    msg: Any,
    args: Any,
    exc_info: Any,
    func: str | None = None,
    sinfo: str | None = None,
    **others: Any,
) -> logging.LogRecord:
    logger: Any = _Logger.manager.loggerDict.get(name)
    kind = LightRecord if type(logger) is _Logger and is_alone(logger, level) else logging.LogRecord
    return kind(name, level, pathname, lineno, msg, args, exc_info, func, sinfo, **others)


def is_usual() -> bool:
    """Whether records are ours, and neither a project nor a library has its own way of making and handling them."""
    # Without a call of getLogRecordFactory(): each line of a task is asked about.
    return (
        logging._logRecordFactory is _record  # type: ignore[attr-defined]  # in no stub of it
        and _Logger.callHandlers is _call
        and _Logger.handle is _handle
        and _Logger.makeRecord is _make
        and _Logger._log is _log
        and _Logger.findCaller is _find
    )


def is_alone(logger: logging.Logger, level: int) -> bool:
    """Whether one of ours, and nobody else, sees a record of this plain logger and this level.

    Others are handlers, filters, and libraries that replace a method.
    """
    if logger.filters or not _ours or not is_usual():
        return False
    is_heard = False
    place: logging.Logger | None = logger
    while place is not None:
        for handler in place.handlers:
            if level >= handler.level:
                if handler not in _ours:
                    return False
                is_heard = True
        place = place.parent if place.propagate else None
    return is_heard
