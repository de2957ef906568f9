"""The Django signals autotask sends, and the log line beside them; a listener that fails harms nobody."""

import logging

from django.dispatch import Signal

from autotask.control import Discard
from autotask.task import ClaimedTask, State

logger = logging.getLogger("autotask.task")

#: A call was stored and its transaction committed. Arguments: ``task_id``, ``name``, ``queue``.
task_enqueued = Signal()

#: A worker starts an attempt. Arguments: ``task`` (:class:`autotask.task.ClaimedTask`).
task_started = Signal()

#: An attempt has ended, in the worker. Arguments: ``task`` (:class:`autotask.task.ClaimedTask`), ``state``
#: (:class:`autotask.task.State`: DONE, ERROR, CANCELLED, RETRY, or SCHEDULED when the task has snoozed or is given back),
#: ``seconds`` it took, ``error_message``, and ``exception`` (None, or what was raised).
task_ended = Signal()

_LEVELS = {
    State.DONE: logging.DEBUG,
    State.CANCELLED: logging.INFO,
    State.SCHEDULED: logging.DEBUG,
    State.RETRY: logging.WARNING,
    State.ERROR: logging.ERROR,
}


def log_end(
    task: ClaimedTask, state: State, seconds: float, error_message: str, exception: BaseException | None
) -> None:
    """Write the log line of an attempt that has ended; DONE is for the level DEBUG only.

    :param seconds: how long it took.
    :param exception: what was raised, or None.
    """
    level = logging.DEBUG if isinstance(exception, Discard) else _LEVELS[state]
    if logger.isEnabledFor(level):
        # No argument and no value: they may be secret. What failed for good shows where.
        logger.log(
            level,
            "%s %s: %s after %.3f s, attempt %d of %d%s",
            task.name,
            task.id,
            state.name.lower(),
            seconds,
            task.failures + 1,
            task.retries + 1,
            f": {one_line(error_message)}" if error_message else "",
            exc_info=exception if state is State.ERROR else None,
            extra={"task_id": str(task.id), "task_name": task.name, "attempt": task.attempt, "queue": task.queue},
        )


def one_line(text: str, longest: int = 500) -> str:
    """Return text that cannot forge log lines or drive a terminal: without control characters, and not too long."""
    shown = "".join(character if character.isprintable() else " " for character in text[:longest])
    return shown + ("…" if len(text) > longest else "")
