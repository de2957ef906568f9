"""Where the log lines of a worker go."""

import logging

from autotask.texts import loggers


def show_log_lines() -> None:
    """Write autotask's log lines to stderr, unless the project configures where they go."""
    logger = logging.getLogger("autotask")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("autotask[%(process)d] %(levelname)s %(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    loggers.keep_going()
