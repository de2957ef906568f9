"""The log lines of tasks: ends of attempts, cancelled and lost tasks, and missed ticks of schedules."""

import logging
import uuid
from datetime import datetime

from autotask.control import Discard
from autotask.task import ClaimedTask, State
from autotask.texts.durations import precisely
from autotask.texts.lines import one_line
from autotask.texts.render import moment

#: The logger of outcomes. Those below it are for the lines that tasks log themselves.
LOGGER = "autotask.task"
PREFIX = f"{LOGGER}."

logger = logging.getLogger(LOGGER)

_LEVELS = {
    State.DONE: logging.DEBUG,
    State.CANCELLED: logging.INFO,
    State.SCHEDULED: logging.DEBUG,
    State.RETRY: logging.WARNING,
    State.ERROR: logging.ERROR,
}

_ENDED = {State.RETRY: "failed", State.ERROR: "failed", State.SCHEDULED: "released"}


def log_end(
    task: ClaimedTask,
    state: State,
    seconds: float,
    error_message: str,
    exception: BaseException | None,
    next_in: float | None = None,
) -> None:
    """Write the log line of an attempt that has ended; DONE is logged at DEBUG only.

    :param seconds: how long it took.
    :param next_in: the seconds until the next attempt; None: there is none.
    """
    level = level_of(state, exception)
    if logger.isEnabledFor(level):
        # Without arguments and value, which may be secret. A traceback only if the task has failed for good.
        logger.log(
            level,
            "%s %s: %s",
            task.name,
            task.id,
            text_of_end(task, state, seconds, error_message, next_in),
            exc_info=exception if state is State.ERROR else None,
            extra={
                "task_id": str(task.id),
                "task_name": task.name,
                "queue": task.queue,
                "attempt": task.attempt,
                "state": state.name.lower(),
                "seconds": seconds,
                "next_in": next_in,
                "worker_id": str(task.worker_id) if task.worker_id else None,
            },
        )


#: Whether lines of this level are written.
logs_level = logger.isEnabledFor


def level_of(state: State, exception: BaseException | None) -> int:
    """Return the level of the line of an attempt that has ended so."""
    return logging.DEBUG if isinstance(exception, Discard) else _LEVELS[state]


def text_of_end(
    task: ClaimedTask, state: State, seconds: float, error_message: str, next_in: float | None = None
) -> str:
    """Return the text of that line without name and id, for the log of the task."""
    ended = _ENDED.get(state) or state.name.lower()
    text = f"attempt {task.failures + 1} of {task.retries + 1} {ended} after {seconds:.3f} s"
    if next_in is not None:
        text += f", next in {precisely(next_in)}"
    elif state is State.ERROR:
        text += ", no retry follows"
    return text + (f": {one_line(error_message)}" if error_message else "")


def logger_of(key: str) -> logging.Logger:
    """Return a logger, ``autotask.task.<key>``, that ``logging`` does not keep forever.

    What it logs while a task with that key or id runs in this process is in the log of the task.

    :param key: the id of the task as text, or the key by which people know it.
    """
    made = logging.Logger(f"{PREFIX}{key}")
    made.parent = logger
    return made


def log_cancelled(id: uuid.UUID, name: str, queue: str) -> None:
    """Write the log line of a task that was cancelled while it waited."""
    logger.log(
        _LEVELS[State.CANCELLED],
        "%s %s: cancelled while it waited",
        name,
        id,
        extra={"task_id": str(id), "task_name": name, "queue": queue, "state": "cancelled"},
    )


def log_lost(id: uuid.UUID, name: str, queue: str, reason: str, ended: bool) -> None:
    """Write the log line of a task whose worker or process died while it ran."""
    logger.log(
        logging.ERROR if ended else logging.WARNING,
        "%s %s: lost: %s; %s",
        name,
        id,
        one_line(reason),
        "it will not run again" if ended else "it will run again",
        extra={"task_id": str(id), "task_name": name, "queue": queue, "state": "lost"},
    )


def log_missed(name: str, first: datetime, last: datetime, reason: str, level: int) -> None:
    """Write the log line, on that level, of ticks of a schedule without a task of their own."""
    one, many = f"the tick of {moment(first)} was", f"the ticks from {moment(first)} to {moment(last)} were"
    logging.getLogger("autotask.worker").log(
        level,
        "schedule %s: %s missed: %s",
        name,
        one if first == last else many,
        reason,
        extra={"schedule": name, "reason": reason},
    )
