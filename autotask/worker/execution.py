"""One task from claim to outcome: load, call, time, catch, decide."""

import contextvars
import time
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync

from autotask import payload, registry
from autotask.conf import settings
from autotask.exceptions import PayloadTooNew, UnknownTask
from autotask.options import Options
from autotask.signals import log_end, task_ended, task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import outcome
from autotask.worker.outcome import GiveBack
from autotask.worker.tidiness import tidy_connections


def execute(task: ClaimedTask, is_cancelled: Callable[[ClaimedTask], bool]) -> Outcome | GiveBack:
    """Run one attempt of a task in this thread. Never raises.

    :param is_cancelled: tells whether somebody has asked to cancel it.
    """
    begun = time.monotonic()
    try:
        definition = registry.get(task.name)
        args, kwargs = payload.load_arguments(task.payload, id=task.id, name=task.name)
    except (UnknownTask, PayloadTooNew) as error:
        return outcome.unknown(task, error, patience=settings.UNKNOWN_TASK_TIMEOUT, now=time.monotonic())
    except BaseException as error:  # noqa: B036 - unpickling can raise anything
        return _failed(task, error, None, is_cancelled(task), begun)
    if task_started.receivers:
        task_started.send_robust(sender=None, task=task)
    tidy_connections()
    # Trying again can help only while the function has not come to its end.
    options: Options | None = definition.options
    try:
        # A context of its own: what a task sets does not reach the next one.
        value = contextvars.Context().run(_call, definition.function, definition.is_async, args, kwargs)
        options = None
        envelope = payload.dump_result(value, id=task.id, fence=task.fence, name=task.name)
    except BaseException as error:  # noqa: B036 - SystemExit and the like are how a task can end too
        return _failed(task, error, options, is_cancelled(task), begun)
    finally:
        tidy_connections()
    now = time.monotonic()
    ended = outcome.succeeded(task, envelope, ended_at=now, seconds=now - begun)
    _tell(task, ended, None)
    return ended


def cancelled(task: ClaimedTask) -> Outcome:
    """Return the outcome of a task that was cancelled between its claim and its start."""
    ended = Outcome(id=task.id, fence=task.fence, state=State.CANCELLED, ended_at=time.monotonic(), seconds=0.0)
    _tell(task, ended, None)
    return ended


def broken(task: ClaimedTask, error: BaseException) -> Outcome:
    """Return the outcome of a task at which the worker itself has failed."""
    now = time.monotonic()
    return outcome.failed(task, error, None, cancelled=False, base_delay=0.0, ended_at=now, seconds=0.0)


def _call(function: Callable[..., Any], is_async: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return async_to_sync(function)(*args, **kwargs) if is_async else function(*args, **kwargs)


def _failed(
    task: ClaimedTask, error: BaseException, options: Options | None, is_cancelled: bool, begun: float
) -> Outcome:
    now = time.monotonic()
    ended = outcome.failed(
        task,
        error,
        options,
        cancelled=is_cancelled,
        base_delay=settings.RETRY_DELAY,
        ended_at=now,
        seconds=now - begun,
    )
    _tell(task, ended, error)
    return ended


def _tell(task: ClaimedTask, ended: Outcome, error: BaseException | None) -> None:
    log_end(task, ended.state, ended.seconds, ended.error_message, error)
    if not task_ended.receivers:
        return  # Sending to nobody costs more than everything else here.
    task_ended.send_robust(
        sender=None,
        task=task,
        state=ended.state,
        seconds=ended.seconds,
        error_message=ended.error_message,
        exception=error,
    )
