"""One task with a coroutine function from claim to outcome, on the event loop: load, await, time, catch, decide."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from autotask import payload, registry
from autotask.context import TaskContext, enter
from autotask.definition import Definition
from autotask.exceptions import PayloadTooNew, UnknownTask
from autotask.options import Options
from autotask.signals import end_is_heard, task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import execution, outcome, sync_threads, tidiness
from autotask.worker.kept import Spare
from autotask.worker.outcome import GiveBack
from autotask.worker.pools.base import PlainAttempt
from autotask.worker.pools.coroutines import CoroutinePlace
from autotask.worker.reporter import Reports
from autotask.worker.surroundings import left_open_error
from autotask.worker.sync_threads import Caller, shared
from autotask.worker.traces import Traces

R = TypeVar("R")


async def execute(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
) -> Outcome | GiveBack:
    """Run one attempt of a task on this event loop. Never raises.

    The parameters are those of :func:`autotask.worker.execution.execute`.
    """
    traces, caller = sync_threads.enter()
    _spare.take()
    try:
        return await _execute(task, is_cancelled, reporter, place, functools.partial(_refuse_open, traces, caller))
    finally:
        _spare.leave()
        caller.end()
        traces.settle()


async def _execute(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
    refuse_open: Callable[[], Awaitable[None]],
) -> Outcome | GiveBack:
    begun = time.monotonic()
    if task.late is not None:
        return await _conclude(execution.told, task, outcome.expired(task, ended_at=begun))
    options: Options | None = None
    try:
        definition = await _find(task)
        options = definition.options
        if not definition.is_async:  # It was when the task was enqueued.
            attempt = PlainAttempt(place.stop_request())
            return await sync_to_async(execution.execute, thread_sensitive=False)(task, is_cancelled, reporter, attempt)
        args, kwargs = await _load(task)
    except (UnknownTask, PayloadTooNew) as error:
        return await _conclude(execution.unknown, task, error)
    except BaseException as error:  # noqa: B036 - unpickling can raise anything
        if place.is_destroyed():
            raise
        return await _conclude(execution.without_arguments, task, error, options, is_cancelled(task), begun)
    if task_started.receivers:
        await task_started.asend_robust(sender=None, task=task)
    report = functools.partial(reporter.report, (task.id, task.fence))
    context = TaskContext(
        task.id, task.name, task.attempt, task.scheduled_for, stop=place.stop_request(), report=report
    )
    try:
        enter(context)
        value = await place.wait_for(definition.for_attempt(task, context)(*args, **kwargs))
        await refuse_open()
        ended = execution.sealed(task, value, begun)
        return await _conclude(execution.told, task, ended)
    except outcome.ResultRefused as refused:
        # Trying again can help only while the function has not come to its end.
        return await _conclude(execution.failed, task, refused.__cause__ or refused, None, is_cancelled(task), begun)
    except BaseException as error:  # noqa: B036 - whatever a task raises is how it can end
        if place.is_destroyed():
            raise
        if isinstance(error, TypeError) and not definition.accepts(args, kwargs):
            return await _conclude(functools.partial(execution.unknown, begun=True), task, error)
        return await _conclude(execution.failed, task, error, definition.options, is_cancelled(task), begun)
    finally:
        context.close()


async def _refuse_open(traces: Traces, caller: Caller) -> None:
    """Raise if the effect of the attempt is going to be lost.

    :raises TransactionLeftOpen: it has left a transaction open.
    """
    if caller.has_own_thread:
        traces.note_left_open(await asyncio.wrap_future(caller.submit(tidiness.left_open)))
    traces.settle()
    traces.note_left_open(caller.left_open)
    if traces.left_open:
        raise left_open_error(list(traces.left_open))


async def _find(task: ClaimedTask) -> Definition[Any, Any]:
    if registry.known(task.name) is None:
        return await sync_to_async(registry.find)(task)  # It may import a module, which may do anything.
    return registry.find(task)


async def _load(task: ClaimedTask) -> tuple[tuple[Any, ...], dict[str, Any]]:
    load = functools.partial(payload.load_arguments, task.payload, id=task.id, name=task.name)
    try:
        return load()
    except SynchronousOnlyOperation:  # instances of models, or what else asks the database when it is unpickled
        return await sync_to_async(load)()


async def _conclude(conclude: Callable[..., R], *args: Any) -> R:
    """Decide and tell; in a thread if somebody listens, who may want the database."""
    if end_is_heard() or ((definition := registry.known(args[0].name)) and definition.hears_ends):
        return await sync_to_async(conclude)(*args)
    return conclude(*args)


async def tidy(ended: Outcome | GiveBack, is_idle: Callable[[], bool]) -> None:
    """Tidy the Django connections of the one thread from which all coroutines of this process use the database.

    :param is_idle: tells whether no other coroutine runs. If one does, it may be in the middle of reading rows.
    """
    cut_off = not (isinstance(ended, Outcome) and ended.state is State.DONE)
    if cut_off and not is_idle():
        await asyncio.wrap_future(shared.submit(tidiness.drop_broken_connections))
    # Asked again: the others may have ended meanwhile, and have left this to the last one.
    if is_idle() and (cut_off or shared.has_connected):
        await asyncio.wrap_future(shared.submit(functools.partial(tidiness.tidy_connections, unsure=cut_off)))


_spare = Spare()
