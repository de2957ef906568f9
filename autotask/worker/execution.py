"""One task from claim to outcome: load, call, time, catch, decide."""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from asgiref.sync import async_to_sync

from autotask import carriers, payload, registry
from autotask.conf import settings
from autotask.context import TaskContext, enter
from autotask.control import Snooze
from autotask.definition import Definition
from autotask.exceptions import (
    NothingRan,
    ObjectGone,
    PayloadTooNew,
    TimeLimitExceeded,
    UnknownCarrier,
    UnknownTask,
    WorkerStopping,
)
from autotask.functions import still_to_be_run
from autotask.options import Options
from autotask.signals import end_is_heard, send_end, task_started
from autotask.store.errors import is_weather
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.task_log import log_end
from autotask.texts.lines import describe
from autotask.worker import atomic, forks, outcome
from autotask.worker.outcome import GiveBack
from autotask.worker.pools.base import Attempt, Run
from autotask.worker.reporter import Reports
from autotask.worker.surroundings import OF_WORKER, Surroundings

logger = logging.getLogger("autotask.worker")


def execute(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    attempt: Attempt,
    surroundings: Surroundings = OF_WORKER,
) -> Outcome | GiveBack:
    """Run one attempt of a task in this thread. Never raises.

    :param is_cancelled: tells whether somebody has asked to cancel it.
    :param reporter: where the function leaves word of its progress.
    :param attempt: by which the function is called, and told that it should stop.
    :param surroundings: what is done before, around and after the function.
    """
    begun = time.monotonic()
    if task.late is not None:
        return told(task, outcome.expired(task, ended_at=begun))
    surroundings.tidy()
    if payload.carries(task.payload):
        as_called = functools.partial(_as_called, task, is_cancelled, reporter, attempt, surroundings, begun)
        return surroundings.enclose(as_called)
    return _attempt(task, is_cancelled, reporter, attempt, surroundings, begun, surroundings.run)


def _as_called(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    attempt: Attempt,
    surroundings: Surroundings,
    begun: float,
) -> Outcome | GiveBack:
    """Run one attempt with what the call carries restored around it."""
    try:
        carried = carriers.restored(payload.load_carried(task.payload, id=task.id, name=task.name))
    except (UnknownCarrier, PayloadTooNew) as error:
        return unknown(task, error)
    except BaseException as error:  # noqa: B036 - a carrier of the project can raise anything
        try:
            return without_arguments(task, error, None, is_cancelled(task), begun)
        finally:
            surroundings.tidy(unsure=True)
    try:
        return _attempt(task, is_cancelled, reporter, attempt, surroundings, begun, surroundings.watch)
    finally:
        leave(carried, task)
        surroundings.tidy()


def leave(carried: ExitStack, task: ClaimedTask) -> None:
    """End what carriers have restored. Never raises: the outcome of the task is known already."""
    try:
        carried.close()
    except BaseException:  # noqa: B036 - a carrier of the project can raise anything
        logger.exception("A carrier of AUTOTASK_CONTEXT failed after the end of %s %s", task.name, task.id)


def _attempt(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    attempt: Attempt,
    surroundings: Surroundings,
    begun: float,
    around: Callable[[Callable[[], Outcome]], Outcome],
) -> Outcome | GiveBack:
    options: Options | None = None
    try:
        definition = registry.find(task)
        options = definition.options
        args, kwargs = _load(task)
    except (UnknownTask, PayloadTooNew) as error:
        return unknown(task, error)
    except BaseException as error:  # noqa: B036 - unpickling can raise anything
        try:
            return without_arguments(task, error, options, is_cancelled(task), begun)
        finally:
            surroundings.tidy()
    if task_started.receivers:
        task_started.send_robust(sender=None, task=task)
    report = functools.partial(reporter.report, (task.id, task.fence))
    stop = attempt.stop_request()
    context = TaskContext(task.id, task.name, task.attempt, task.scheduled_for, stop=stop, report=report)
    unsure = True
    spared = settings.DATABASE if definition.options.atomic else None
    run = functools.partial(_run, task, definition, context, attempt, surroundings, spared, begun, args, kwargs)
    if spared is not None:
        run = functools.partial(atomic.run, task, functools.partial(_run_again, run, task), context, reporter)
    try:
        ended = around(run)
        # It may have been interrupted while it connected, and have kept that to itself.
        unsure = stop.reason is not None
        return told(task, ended)
    except outcome.ResultRefused as refused:
        # Trying again can help only while the function has not come to its end.
        return failed(task, refused.__cause__ or refused, None, is_cancelled(task), begun)
    except BaseException as error:  # noqa: B036 - SystemExit and the like are how a task can end too
        if isinstance(error, TypeError) and not definition.accepts(args, kwargs):
            return unknown(task, error, begun=True)
        return failed(task, error, definition.options, is_cancelled(task), begun)
    finally:
        context.close()
        surroundings.tidy(unsure=unsure)


def unknown(task: ClaimedTask, error: Exception, *, begun: bool = False) -> Outcome | GiveBack:
    """Return what becomes of a task that is not known here; see :func:`autotask.worker.outcome.unknown`.

    Calls that do not fit the function are refused where they are made. So one that does not fit it here was made by other
    code than this worker's, and its function has not been reached.

    :param begun: whether its beginning was told.
    """
    ended = outcome.unknown(task, error, patience=settings.UNKNOWN_TASK_TIMEOUT, now=time.monotonic())
    if isinstance(ended, Outcome):
        return told(task, ended, error)
    if begun:
        _tell(task, State.SCHEDULED, 0.0, ended.unknown, error)
    return ended


def without_arguments(
    task: ClaimedTask, error: BaseException, options: Options | None, is_cancelled: bool, begun: float
) -> Outcome | GiveBack:
    """Return the outcome of an attempt that did not begin because its arguments could not be had, and tell of it.

    :param options: of its definition; None when that could not be had either.
    """
    if is_weather(error) and not is_cancelled:
        _tell(task, State.SCHEDULED, time.monotonic() - begun, describe(error), error)
        logger.info("%s %s is given back: what it needs from the database cannot be fetched", task.name, task.id)
        return GiveBack(task, delay=settings.RETRY_DELAY)
    if isinstance(error, ObjectGone) and options is not None:
        return failed(task, *outcome.gone(error, options), is_cancelled, begun)
    return failed(task, error, None, is_cancelled, begun)


def cancelled(task: ClaimedTask) -> Outcome:
    """Return the outcome of a task that was cancelled between its claim and its start."""
    now = time.monotonic()
    return told(task, Outcome(task.id, task.fence, State.CANCELLED, ended_at=now, seconds=0.0, began=False))


def broken(task: ClaimedTask, error: BaseException) -> Outcome:
    """Return the outcome of a task at which the worker itself has failed."""
    now = time.monotonic()
    return outcome.failed(task, error, None, cancelled=False, base_delay=0.0, ended_at=now, seconds=0.0)


def given_up(run: Run[ClaimedTask], limit: float, where: str, is_cancelled: bool) -> Outcome | GiveBack:
    """Return the outcome of a task that does not stop after its time limit of so many seconds.

    :param where: the lines of code it is at.
    """
    error = TimeLimitExceeded(f"timed out after {limit:g} s")
    error.add_note(f"It does not stop. It is at:\n{where}")
    return stopped(run, error, is_cancelled)


def left_behind(run: Run[ClaimedTask], is_cancelled: bool) -> Outcome | GiveBack:
    """Return the outcome of a task that does not stop although its worker has to end."""
    return stopped(run, WorkerStopping("its worker has ended"), is_cancelled)


def stopped(run: Run[ClaimedTask], error: BaseException, is_cancelled: bool) -> Outcome | GiveBack:
    """Return the outcome of a run that was cut off."""
    try:
        options: Options | None = registry.find(run.record).options
    except UnknownTask:
        options = None
    return failed(run.record, error, options, is_cancelled, run.began)


def _run(
    task: ClaimedTask,
    definition: Definition[Any, Any],
    context: TaskContext,
    attempt: Attempt,
    surroundings: Surroundings,
    spared: str | None,
    begun: float,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Outcome:
    enter(context)
    # Nothing but this call is ever interrupted.
    value = attempt.call(_call, definition.for_attempt(task, context), definition.is_async, args, kwargs)
    surroundings.refuse_open(spared)
    return sealed(task, value, begun)


def _run_again(run: "functools.partial[Outcome]", task: ClaimedTask, again: bool) -> Outcome:
    """Run a function; again with fresh arguments, since it may have changed them."""
    if not again:
        return run()
    return functools.partial(run.func, *run.args[:-2], *_load(task))()


def _load(task: ClaimedTask) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return payload.load_arguments(task.payload, id=task.id, name=task.name)


def sealed(task: ClaimedTask, value: Any, begun: float) -> Outcome:
    """Return the outcome of an attempt that returned a value.

    :raises NothingRan: it is a coroutine or a generator, so what the function should do was not done.
    :raises ResultRefused: the value cannot be stored.
    """
    try:
        envelope = payload.dump_result(value, id=task.id, fence=task.fence, name=task.name)
    except BaseException as error:  # noqa: B036 - pickling can raise anything
        if what := still_to_be_run(value):
            raise NothingRan(task=task.name, what=what) from None
        raise outcome.ResultRefused from error
    now = time.monotonic()
    return outcome.succeeded(task, envelope, ended_at=now, seconds=now - begun)


def _call(function: Callable[..., Any], is_async: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    generation = forks.generation
    try:
        return async_to_sync(function)(*args, **kwargs) if is_async else function(*args, **kwargs)
    finally:
        forks.end_if_newer(generation)


def failed(
    task: ClaimedTask, error: BaseException, options: Options | None, is_cancelled: bool, begun: float
) -> Outcome | GiveBack:
    """Return the outcome of an attempt that raised, and tell of it.

    :param options: of its definition; None when trying again is no use.
    :param begun: when it began, on the monotonic clock.
    """
    now = time.monotonic()
    if isinstance(error, outcome.RunAgain):
        if not is_cancelled:
            _tell(task, State.SCHEDULED, now - begun, describe(error.__cause__ or error), error)
            logger.info("%s %s is given back: its connection was cut, and nothing was committed", task.name, task.id)
            return GiveBack(task, delay=settings.RETRY_DELAY, known=options is not None)
        error = error.__cause__ or error
    if isinstance(error, Snooze) and options is not None and not is_cancelled:
        _tell(task, State.SCHEDULED, now - begun, str(error), error)
        return GiveBack(task, delay=error.seconds, known=True)
    if isinstance(error, WorkerStopping) and not (is_cancelled or task.at_most_once):
        _tell(task, State.SCHEDULED, now - begun, str(error), error)
        logger.info("%s %s was interrupted, since its worker has to end; it is given back", task.name, task.id)
        return GiveBack(task, known=options is not None)
    ended = outcome.failed(
        task,
        error,
        options,
        cancelled=is_cancelled,
        base_delay=settings.RETRY_DELAY,
        ended_at=now,
        seconds=now - begun,
    )
    return told(task, ended, error)


def told(task: ClaimedTask, ended: Outcome, error: BaseException | None = None) -> Outcome:
    """Tell of an outcome, and return it."""
    try:
        _tell(task, ended.state, ended.seconds, ended.error_message, error)
    except BaseException:  # noqa: B036 - a receiver can raise SystemExit, which send_robust() lets through
        logger.exception("Those who hear of the end of %s %s failed", task.name, task.id)
    return ended


def _tell(task: ClaimedTask, state: State, seconds: float, message: str, error: BaseException | None) -> None:
    log_end(task, state, seconds, message, error)
    definition = registry.known(task.name)
    if definition is not None and definition.hears_ends:
        definition.attempt_ended(task, state, message, error)
    if end_is_heard():
        send_end(task, state, seconds, message, error)
