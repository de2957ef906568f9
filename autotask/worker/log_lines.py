"""The destination of a worker's log lines, and their level of detail."""

import logging
import os

from autotask.processes import streams
from autotask.task_log import LOGGER
from autotask.texts import loggers

#: The variable with which a command tells its worker, and that its processes, to log the tasks that are done, too.
VERBOSE = "AUTOTASK_VERBOSE"


def show_log_lines() -> None:
    """Write autotask's log lines to stderr, unless the project configures where they go."""
    logger = logging.getLogger("autotask")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(f"{_time()}autotask[%(process)d] %(levelname)s %(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    if VERBOSE in os.environ:
        logging.getLogger(LOGGER).setLevel(logging.DEBUG)
    loggers.keep_going()


def _time() -> str:
    return "" if streams.adds_time() else "%(asctime)s "
