"""The short way of a log line that only autotask keeps: without a record, and without a search for the place of the call.

A logger gets it, as an attribute of its own, when one of its lines has come to the book alone. Each further line makes sure that
this is still so. If anybody else listens by then, the line goes the usual way, and the others get a whole record.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from autotask import context
from autotask.worker import light_records

#: Takes a line of the attempt that runs here: when it was logged, its level, its logger and its message.
Say = Callable[[context.TaskContext, float, int, str, str], None]

#: The loggers that have the short way.
_loggers: list[logging.Logger] = []

_running, _now = context.running.get, time.time


def give(name: str, level: int, say: Say) -> None:
    """Give a logger the short way, if only autotask gets its lines, and none of its methods is replaced.

    :param level: that of the line that has just come to *say* by the usual way.
    """
    logger: Any = logging.Logger.manager.loggerDict.get(name)
    if type(logger) is logging.Logger and light_records.is_alone(logger, level):
        own = vars(logger)
        if own.keys() == {*vars(logging.Logger("")), "manager"}:
            own["_log"] = _short_way(logger, say, len(own) + 1)
            _loggers.append(logger)


def take_back() -> None:
    """Let all lines go the usual way from now on."""
    while _loggers:
        vars(_loggers.pop()).pop("_log", None)


def _short_way(logger: logging.Logger, say: Say, attributes: int) -> Callable[..., None]:
    own, name, top = vars(logger), logger.name, logging.root
    is_alone, is_usual = light_records.is_alone, light_records.is_usual
    heard = _only_one(logger)

    def log(
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> None:
        if (
            not (exc_info or stack_info or extra is not None)
            and len(own) == attributes  # with one more, somebody has replaced a method of this logger
            # If only the root has a handler, this says what is_alone() does, in half of the time.
            and (
                level >= heard[0].level and is_usual()
                if heard
                and logger.parent is top
                and logger.propagate
                and top.handlers == heard
                and not (logger.handlers or logger.filters)
                else is_alone(logger, level)
            )
        ):
            try:
                if (running := _running(None)) is not None and running.fence is not None:
                    message = msg if type(msg) is str else str(msg)
                    if args:
                        message %= args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
                    say(running, _now(), level, name, message)
                return
            except Exception:
                pass  # It fails again on the usual way, which says so.
        # One frame more, of this function, is between the call and the search for its place.
        logging.Logger._log(logger, level, msg, args, exc_info, extra, stack_info, stacklevel + 1)

    return log


def _only_one(logger: logging.Logger) -> list[logging.Handler]:
    """Return the only handler that gets the lines of a logger, if that is one of the root. It is ours, as :func:`give` has seen."""
    found = logging.root.handlers
    return found[:] if len(found) == 1 and logger.parent is logging.root and not logger.handlers else []
