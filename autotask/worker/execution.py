"""Run one attempt in the calling thread: find, load, call, decide, tell."""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from asgiref.sync import async_to_sync

from autotask import carriers, payload, registry, telemetry
from autotask.conf import settings
from autotask.context import TaskContext, enter
from autotask.definition import Definition
from autotask.payload import Arguments
from autotask.signals import task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.worker import atomic, forks, log_capture, outcome, plain, steps, surroundings
from autotask.worker.outcome import Advanced, Released
from autotask.worker.pools.base import Interruptible
from autotask.worker.reporter import Reports
from autotask.worker.sealing import load_arguments
from autotask.worker.surroundings import Surroundings

logger = logging.getLogger("autotask.worker")

IsCancelled = Callable[[ClaimedTask], bool]


def execute(
    task: ClaimedTask,
    is_cancelled: IsCancelled,
    reporter: Reports,
    attempt: Interruptible,
    around: Surroundings | None = None,
) -> Outcome | Released:
    """Run one attempt of a task in this thread. Never raises.

    :param is_cancelled: returns whether somebody has asked to cancel the task.
    :param reporter: takes the progress of the task.
    :param attempt: calls the function, and asks it to stop.
    :param around: acts before, around and after the function; by default as in a worker.
    """
    begun = time.monotonic()
    if task.late is not None:
        return steps.tell(task, outcome.expired(task, ended_at=begun))
    if around is None:
        here = surroundings.of_thread()
        here.tidy()
        if (ended := plain.attempt(task, is_cancelled, reporter, attempt, here, begun)) is not None:
            return ended
        around = here
    else:
        around.tidy()
    if telemetry.used is not None:
        return around.enclose(functools.partial(_reported, task, is_cancelled, reporter, attempt, around, begun))
    if payload.carries(task.payload):
        return around.enclose(functools.partial(_as_called, task, is_cancelled, reporter, attempt, around, begun))
    return _attempt(task, is_cancelled, reporter, attempt, around, begun, around.run)


def _reported(
    task: ClaimedTask,
    is_cancelled: IsCancelled,
    reporter: Reports,
    attempt: Interruptible,
    around: Surroundings,
    begun: float,
) -> Outcome | Released:
    """Run one attempt that is reported to telemetry."""
    with steps.reported(task):
        if payload.carries(task.payload):
            return _as_called(task, is_cancelled, reporter, attempt, around, begun)
        return _attempt(task, is_cancelled, reporter, attempt, around, begun, around.watch)


def _as_called(
    task: ClaimedTask,
    is_cancelled: IsCancelled,
    reporter: Reports,
    attempt: Interruptible,
    around: Surroundings,
    begun: float,
) -> Outcome | Released:
    """Run one attempt with the values that its call carries restored around it."""
    try:
        carried = carriers.restored(payload.load_carried(task.payload, id=task.id, name=task.name))
    except BaseException as error:  # noqa: B036 - a carrier of the project can raise anything
        try:
            return steps.tell(task, *steps.decide(task, error, None, None, is_cancelled(task), begun))
        finally:
            around.tidy(unsure=True)
    try:
        return _attempt(task, is_cancelled, reporter, attempt, around, begun, around.watch)
    finally:
        leave(carried, task)
        around.tidy()


def leave(carried: ExitStack, task: ClaimedTask) -> None:
    """Undo what carriers have restored. Never raises: the outcome of the task is known already."""
    try:
        carried.close()
    except BaseException:  # noqa: B036 - a carrier of the project can raise anything
        logger.exception("A carrier of AUTOTASK_CONTEXT failed after the end of %s %s", task.name, task.id)


def _attempt(
    task: ClaimedTask,
    is_cancelled: IsCancelled,
    reporter: Reports,
    attempt: Interruptible,
    around: Surroundings,
    begun: float,
    run: Callable[..., Outcome | Released],
) -> Outcome | Released:
    definition: Definition[Any, Any] | None = None
    try:
        definition = registry.find(task)
        arguments = around.load_arguments(task)
    except BaseException as error:  # noqa: B036 - unpickling can raise anything
        try:
            return steps.tell(task, *steps.decide(task, error, definition, None, is_cancelled(task), begun))
        finally:
            around.tidy()
    if telemetry.used is not None:
        steps.tell_loaded(definition, arguments)
    if log_capture.is_on:
        log_capture.begin(task, definition)
    if task_started.receivers:
        task_started.send_robust(sender=None, task=task)
    stop = attempt.stop_request()
    context = steps.context_of(task, stop, reporter)
    # An interruption may come while it connects, before has_connected is set.
    unsure = True
    try:
        if definition.options.atomic:
            call = functools.partial(_call, task, definition, context, attempt, around, begun)
            again = functools.partial(_call_again, call, task, context, arguments)
            ended = run(functools.partial(atomic.run, task, again, context, reporter))
            around.settle()
        else:
            ended = run(_call, task, definition, context, attempt, around, begun, arguments)
        unsure = stop.reason is not None
        return steps.tell(task, ended)
    except BaseException as error:  # noqa: B036 - a task can end with SystemExit and the like too
        return steps.tell(task, *steps.decide(task, error, definition, arguments, is_cancelled(task), begun))
    finally:
        context.close()
        if log_capture.is_on:
            log_capture.close(task)
        around.tidy(unsure=unsure)


def _call(
    task: ClaimedTask,
    definition: Definition[Any, Any],
    context: TaskContext,
    attempt: Interruptible,
    around: Surroundings,
    begun: float,
    arguments: Arguments,
) -> Outcome | Advanced:
    enter(context)
    function = definition.for_attempt(task, context)
    if definition.is_async:
        function = async_to_sync(function)
    # Nothing but this call is ever interrupted.
    value = attempt.call(forks.call, function, arguments)
    around.refuse_open(settings.DATABASE if definition.options.atomic else None)
    return steps.seal(task, value, begun, around.dump_result)


def _call_again(
    call: Callable[[Arguments], Outcome | Advanced],
    task: ClaimedTask,
    context: TaskContext,
    arguments: Arguments,
    again: bool,
) -> Outcome | Advanced:
    """Call the function of a task; the next time with fresh arguments, since it may have changed them."""
    if again:
        context.steps = None  # Those of the first run were rolled back with it.
        arguments = load_arguments(task._replace(row=b""))
    return call(arguments)
