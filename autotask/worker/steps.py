"""The steps of an attempt that are the same in every pool: load, seal, decide, tell.

A claimed task goes through: find, load, call, then seal if it returned or decide if it raised, and tell. Only the call
differs, see :mod:`autotask.worker.execution` and :mod:`autotask.worker.coroutine`.
"""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from autotask import payload, registry, telemetry
from autotask.conf import settings
from autotask.context import StopRequest, TaskContext
from autotask.definition import Definition
from autotask.exceptions import NothingRan, TimeLimitExceeded, UnknownTask, WorkerStopping
from autotask.functions import still_to_be_run
from autotask.payload import Arguments
from autotask.scheduled import ScheduledTask
from autotask.schedules.base import Timetable
from autotask.signals import end_is_heard, send_end
from autotask.store import steps as stored_steps
from autotask.store.finish import Outcome
from autotask.store.steps import Advance, StepEnd
from autotask.task import ClaimedTask, State
from autotask.task_log import log_end, logs_level
from autotask.texts import tracebacks
from autotask.worker import decision, log_capture, outcome, spare_loggers
from autotask.worker.decision import Decision, Raised, Rules
from autotask.worker.outcome import Advanced, Released
from autotask.worker.pools.base import Run
from autotask.worker.reporter import Reports
from autotask.worker.sealing import dump_result

logger = logging.getLogger("autotask.worker")


def reported(task: ClaimedTask) -> AbstractContextManager[None]:
    """Return the block that reports an attempt to the modules in AUTOTASK_TELEMETRY, of which there are some."""
    assert telemetry.used is not None
    return telemetry.used.running(task, _timetable(task))


def context_of(task: ClaimedTask, stop: StopRequest, reporter: Reports) -> TaskContext:
    """Return the context that the function of an attempt sees."""
    id, fence = task.id, task.fence
    report = functools.partial(reporter.report, (id, fence))
    context = TaskContext(id, task.name, task.attempt, task.scheduled_for, stop, report, fence)
    if payload.carries(task.payload):
        context.subject, context.metadata = payload.about(task.payload)
    return context


def seal(
    task: ClaimedTask, value: Any, begun: float, dump: Callable[[ClaimedTask, Any], bytes | None] = dump_result
) -> Outcome | Advanced:
    """Return the outcome of an attempt that returned a value, or the release of a task that has further steps.

    :param begun: when the attempt began, on the monotonic clock.
    :param dump: makes a result, as :func:`autotask.worker.sealing.dump_result`.
    :raises NothingRan: the value is a coroutine or a generator, so the body of the function did not run.
    :raises ResultRefused: the value cannot be stored.
    """
    if type(value) is Advance:
        return _advanced(task, value, begun)
    try:
        envelope = dump(task, value)
    except BaseException as error:  # noqa: B036 - pickling can raise anything
        if what := still_to_be_run(value):
            raise NothingRan(task=task.name, what=what) from None
        raise outcome.ResultRefused from error
    now = time.monotonic()
    return outcome.succeeded(task, envelope, now, now - begun)


def _advanced(task: ClaimedTask, step: Advance, begun: float) -> Advanced:
    try:
        word = stored_steps.word(step.number)
        envelope = payload.dump_step(step.value, id=task.id, step=word, name=task.name)
    except BaseException as error:  # noqa: B036 - as for a result
        raise outcome.ResultRefused from error
    now = time.monotonic()
    end = StepEnd(task.id, task.fence, step.number, envelope, now - begun, now, step.delay, step.executor)
    return outcome.advanced(task, end)


def decide(
    task: ClaimedTask,
    error: BaseException,
    definition: Definition[Any, Any] | None,
    arguments: Arguments | None,
    cancelled: bool,
    begun: float,
) -> Decision:
    """Decide the outcome of an attempt that raised; see :class:`autotask.worker.decision.Raised`.

    :param begun: when the attempt began, on the monotonic clock.
    """
    now = time.monotonic()
    tracebacks.cut(error)
    return decision.decide(Raised(task, error, definition, arguments, cancelled, now - begun, now), _rules())


def tell(task: ClaimedTask, ended: Outcome | Released, error: BaseException | None = None) -> Outcome | Released:
    """Log how an attempt ended, call the receivers, and return its outcome. Never raises.

    :param error: the exception that counts as the reason; None if the attempt returned.
    """
    if error is None and type(ended) is Outcome and ended.state is State.DONE and not _is_heard(task.name):
        spare_loggers.forget()
        return ended  # as nearly always
    try:
        if isinstance(ended, Outcome):
            next_in = ended.delay if ended.state is State.RETRY else None
            _tell(task, ended.state, ended.seconds, ended.error_message, error, next_in)
        elif ended.seconds is not None:
            _tell(task, State.SCHEDULED, ended.seconds, ended.why, error, ended.delay)
            if ended.log:
                logger.info("%s %s %s", task.name, task.id, ended.log)
    except BaseException:  # noqa: B036 - a receiver can raise SystemExit, which send_robust() lets through
        logger.exception("A receiver of the end of %s %s failed", task.name, task.id)
    spare_loggers.forget()
    return ended


def cancelled(task: ClaimedTask) -> Outcome | Released:
    """Return the outcome of a task that was cancelled between its claim and its start."""
    now = time.monotonic()
    return tell(task, Outcome(task.id, task.fence, State.CANCELLED, ended_at=now, seconds=0.0, began=False))


def broken(task: ClaimedTask, error: BaseException) -> Outcome:
    """Return the outcome of a task on which the worker itself failed."""
    now = time.monotonic()
    return outcome.failed(task, error, None, cancelled=False, base_delay=0.0, ended_at=now, seconds=0.0)


def given_up(run: Run[ClaimedTask], limit: float, where: str, is_cancelled: bool) -> Outcome | Released:
    """Return the outcome of a task that does not stop after its time limit.

    :param limit: in seconds.
    :param where: the lines of code that it is running.
    """
    error = TimeLimitExceeded(f"timed out after {limit:g} s")
    error.add_note(f"It does not stop. It is at:\n{where}")
    return stopped(run, error, is_cancelled)


def left_behind(run: Run[ClaimedTask], is_cancelled: bool) -> Outcome | Released:
    """Return the outcome of a task that does not stop although its worker has to."""
    return stopped(run, WorkerStopping("its worker has ended"), is_cancelled)


def stopped(run: Run[ClaimedTask], error: BaseException, is_cancelled: bool) -> Outcome | Released:
    """Return the outcome of a run that was cut off."""
    task, now = run.item, time.monotonic()
    try:
        definition = registry.find(task)
    except UnknownTask:
        definition = None
    raised = Raised(task, error, definition, None, is_cancelled, now - run.began, now)
    return tell(task, *decision.stopped(raised, None if definition is None else definition.options, _rules()))


def has_receivers(name: str) -> bool:
    """Whether the end of this task has receivers, which may use the database."""
    return end_is_heard() or ((definition := registry.known(name)) is not None and definition.hears_ends)


def _is_heard(name: str) -> bool:
    """Whether anybody takes note of the success of a task of this name."""
    return log_capture.is_on or telemetry.used is not None or logs_level(logging.DEBUG) or has_receivers(name)


def tell_loaded(definition: Definition[Any, Any], arguments: Arguments) -> None:
    """Let those in AUTOTASK_TELEMETRY, of whom there are some, see the arguments as text, if they ask for it."""
    assert telemetry.used is not None
    telemetry.used.loaded(functools.partial(definition.shown, arguments))


def _timetable(task: ClaimedTask) -> Timetable | None:
    definition = None if task.scheduled_for is None else registry.known(task.name)
    return definition.schedule if isinstance(definition, ScheduledTask) else None


def _rules() -> Rules:
    return Rules(base_delay=settings.RETRY_DELAY, patience=settings.UNKNOWN_TASK_TIMEOUT)


def _tell(
    task: ClaimedTask,
    state: State,
    seconds: float,
    message: str,
    error: BaseException | None,
    next_in: float | None,
) -> None:
    if telemetry.used is not None:  # First, so that what listens to the log knows what it has had already.
        telemetry.used.end(
            task,
            _timetable(task),
            state=state,
            seconds=seconds,
            message=message,
            exception=error,
            next_in=next_in,
        )
    log_end(task, state, seconds, message, error, next_in)
    if log_capture.is_on:
        log_capture.end(task, state, seconds, message, error, next_in)
    definition = registry.known(task.name)
    if definition is not None and definition.hears_ends:
        definition.attempt_ended(task, state, message, error)
    if end_is_heard():
        send_end(task, state, seconds, message, error)
