"""Forgets the loggers that tasks got by their ids: ``logging`` itself keeps every logger forever."""

import logging
import re

from autotask.task_log import PREFIX

#: The loggers that may be added before those of tasks are forgotten.
SPARE = 1000

_OF_TASK = re.compile(re.escape(PREFIX) + "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_loggers = logging.Logger.manager.loggerDict
_most = SPARE


def forget() -> None:
    """Forget the loggers of tasks, once there are many. Called after each attempt."""
    if len(_loggers) > _most:
        _forget()


def _forget() -> None:
    global _most
    with logging._lock:  # type: ignore[attr-defined]  # Code that goes through all loggers holds it.
        for name in [name for name in _loggers if name.startswith(PREFIX) and _OF_TASK.match(name)]:
            if _is_plain(_loggers[name]):
                del _loggers[name]
        _most = len(_loggers) + SPARE


def _is_plain(logger: logging.Logger | logging.PlaceHolder) -> bool:
    """Whether another logger of that name would be the same: then it can be forgotten even while its task runs."""
    return isinstance(logger, logging.PlaceHolder) or not (
        logger.handlers or logger.filters or logger.level or logger.disabled or not logger.propagate
    )
