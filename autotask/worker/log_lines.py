"""Where the log lines of a worker go."""

import logging

from autotask.texts import loggers


def show_log_lines() -> None:
    """Write what autotask has to say to stderr, unless the project has said where its log lines go."""
    logger = logging.getLogger("autotask")
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("autotask[%(process)d] %(levelname)s %(message)s"))
        logger.addHandler(handler)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
    loggers.keep_going()
