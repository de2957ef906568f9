"""Run an attempt of the most frequent kind: a function that is called as it is, while nobody is told that it begins.

The steps are those of :mod:`autotask.worker.execution`, which runs all other attempts. There, a task that does nothing spends
most of its time between the steps: on calls, on arguments by name, on questions that are nearly always answered with no. Here
these are asked once and together, and what is left takes three quarters of the time.
"""

import functools
from collections.abc import Callable
from logging import DEBUG
from typing import Any

from autotask import registry, telemetry
from autotask.context import TaskContext, enter
from autotask.payload import Arguments
from autotask.signals import end_is_heard, task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.task_log import logs_level
from autotask.worker import forks, log_capture, sealing, spare_loggers, steps
from autotask.worker.outcome import Advanced, Released
from autotask.worker.pools.base import Interruptible
from autotask.worker.reporter import Reports
from autotask.worker.surroundings import OfWorker
from autotask.worker.traces import Traces, enter as enter_traces


def attempt(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    thread: Interruptible,
    around: OfWorker,
    begun: float,
) -> Outcome | Released | None:
    """Run one attempt of a task in this thread. Never raises.

    :param begun: when it began, on the monotonic clock.
    :returns: None if it is of another kind; then nothing was done.
    """
    definition = registry.known(task.name)
    if (
        definition is None
        or not definition.is_direct
        or task_started.receivers
        or log_capture.is_on
        or telemetry.used is not None
        or (pickled := around.opened(task)) is None
    ):
        return None
    arguments: Arguments | None = None
    stop = thread.stop_request()
    id, fence, report = task.id, task.fence, reporter.report
    context = TaskContext(
        id, task.name, task.attempt, task.scheduled_for, stop, functools.partial(report, (id, fence)), fence
    )
    inside, traces = around.kept.context(), around.traced()
    unsure = True  # An interruption may come while it connects, before has_connected is set.
    try:
        arguments = sealing.loaded(task, pickled)
        try:
            function = definition.with_context(context)
            ended = inside.run(_call, task, function, arguments, context, traces, thread, around, begun)
        except BaseException:
            traces.end_in_thread()
            raise
        finally:
            around.kept.keep(inside)
        unsure = stop.reason is not None
        if logs_level(DEBUG) or end_is_heard() or definition.hears_ends or type(ended) is not Outcome:
            return steps.tell(task, ended)
        spare_loggers.forget()
        return ended
    except BaseException as error:  # noqa: B036 - a task can end with SystemExit and the like too
        return steps.tell(task, *steps.decide(task, error, definition, arguments, is_cancelled(task), begun))
    finally:
        context.close()
        around.tidy(unsure=unsure)


def _call(
    task: ClaimedTask,
    function: Callable[..., Any],
    arguments: Arguments,
    context: TaskContext,
    traces: Traces,
    thread: Interruptible,
    around: OfWorker,
    begun: float,
) -> Outcome | Advanced:
    enter_traces(traces)
    enter(context)
    value = thread.call(forks.call, function, arguments)
    around.refuse_open()
    return steps.seal(task, value, begun, around.dump_result)
