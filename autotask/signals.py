"""The Django signals that autotask sends; a receiver that fails does no harm."""

import uuid
from datetime import datetime
from typing import Any

from django.dispatch import Signal

from autotask.task import ClaimedTask, State
from autotask.task_log import log_cancelled, log_lost, log_missed

#: A call was stored and its transaction committed. Arguments: ``task_id``, ``name``, ``queue``.
task_enqueued = Signal()

#: For testing tools: calls were stored, and their transaction may still be open. Arguments: ``definition``, ``tasks`` (a
#: list of :class:`autotask.store.enqueue.NewTask`; one with the id of an earlier task has replaced its arguments). An exception of a receiver reaches the caller.
tasks_stored = Signal()

#: The same with ``AUTOTASK_IMMEDIATE``, and sent before it: the receiver runs ``tasks``. A signal of its own, because
#: sending one to a receiver that only looks at the setting takes several times as long as looking.
tasks_to_run_now = Signal()

#: A worker starts an attempt. Arguments: ``task`` (:class:`autotask.task.ClaimedTask`).
task_started = Signal()

#: An attempt has ended, in the worker. Arguments: ``task`` (:class:`autotask.task.ClaimedTask`), ``state``
#: (:class:`autotask.task.State`: DONE, ERROR, CANCELLED, RETRY, or SCHEDULED if the task has snoozed or was released),
#: ``seconds`` it took, ``error_message``, and ``exception`` (the exception, or None).
task_ended = Signal()

#: For one outcome each, after ``task_ended`` and with the same arguments: DONE; ERROR; RETRY, so there will be another
#: attempt; CANCELLED, where ``task`` is None if no worker had it yet. These four and the next one also have ``task_id``,
#: ``name`` and ``queue``.
task_succeeded = Signal()
task_failed = Signal()
task_retrying = Signal()
task_cancelled = Signal()

#: A worker or process died while it ran a task. Sent by the worker that found out. Arguments: ``task_id``, ``name``,
#: ``queue``, ``reason`` (a text), ``ended`` (True: the task has ended in ERROR, or as CANCELLED if that was requested;
#: False: it will run again).
task_lost = Signal()

#: A worker is ready to claim tasks; a worker claims no more and is about to exit. Arguments: ``worker_id``, ``kind``
#: ("companion" or "worker"), ``pid``, ``queues``.
worker_started = Signal()
worker_stopping = Signal()

#: Ticks of a schedule have passed without a task of their own. Arguments: ``name``, ``first`` and ``last`` (the moments of
#: the first and the last of these ticks, which may be the same), ``reason``: "busy" (an earlier task of the schedule still
#: waits or runs), "taken" (another task has the unique key), "made up for" (no worker was there in time; the task of the last tick stands for all), "late" (no task
#: makes up for them).
schedule_missed = Signal()

_OF_STATE = {
    State.DONE: task_succeeded,
    State.ERROR: task_failed,
    State.RETRY: task_retrying,
    State.CANCELLED: task_cancelled,
}


def end_is_heard() -> bool:
    """Whether there are receivers for the ends of attempts. Sending without any costs more than the rest of a short task."""
    # Not a loop, which takes five times as long: this runs for each task.
    return bool(
        task_ended.receivers
        or task_succeeded.receivers
        or task_failed.receivers
        or task_retrying.receivers
        or task_cancelled.receivers
    )


def send_end(
    task: ClaimedTask, state: State, seconds: float, error_message: str, exception: BaseException | None
) -> None:
    """Send ``task_ended``, and the signal for this outcome if there is one."""
    facts: dict[str, Any] = {
        "task": task,
        "state": state,
        "seconds": seconds,
        "error_message": error_message,
        "exception": exception,
    }
    task_ended.send_robust(sender=None, **facts)
    if state in _OF_STATE:
        _OF_STATE[state].send_robust(sender=None, task_id=task.id, name=task.name, queue=task.queue, **facts)


def tell_cancelled(id: uuid.UUID, name: str, queue: str) -> None:
    """Log and send that a task was cancelled that no worker had."""
    log_cancelled(id, name, queue)
    task_cancelled.send_robust(
        sender=None,
        task_id=id,
        name=name,
        queue=queue,
        task=None,
        state=State.CANCELLED,
        seconds=0.0,
        error_message="",
        exception=None,
    )


def tell_lost(id: uuid.UUID, name: str, queue: str, reason: str, ended: bool) -> None:
    """Log and send that a worker or process died while it ran a task."""
    log_lost(id, name, queue, reason, ended)
    task_lost.send_robust(sender=None, task_id=id, name=name, queue=queue, reason=reason, ended=ended)


def tell_missed(name: str, first: datetime, last: datetime, reason: str, level: int) -> None:
    """Log, on that level, and send that a schedule had ticks without a task of their own."""
    log_missed(name, first, last, reason, level)
    schedule_missed.send_robust(sender=None, name=name, first=first, last=last, reason=reason)
