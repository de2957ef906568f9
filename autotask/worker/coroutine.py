"""One task with a coroutine function from claim to outcome, on the event loop: load, await, time, catch, decide."""

import asyncio
import contextvars
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from autotask import carriers, payload, registry
from autotask.context import TaskContext, enter
from autotask.definition import Definition
from autotask.exceptions import PayloadTooNew, UnknownCarrier, UnknownTask
from autotask.options import Options
from autotask.signals import end_is_heard, task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import execution, forks, outcome, sync_threads, tidiness
from autotask.worker.kept import Spare
from autotask.worker.outcome import GiveBack
from autotask.worker.pools.base import PlainAttempt
from autotask.worker.pools.coroutines import CoroutinePlace
from autotask.worker.reporter import Reports
from autotask.worker.surroundings import left_open_error
from autotask.worker.sync_threads import Caller, NoThread, shared
from autotask.worker.traces import Traces

logger = logging.getLogger("autotask.worker")

R = TypeVar("R")

#: Raises if the effect of an attempt is going to be lost.
RefuseOpen = Callable[[], Awaitable[None]]


async def execute(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
) -> Outcome | GiveBack:
    """Run one attempt of a task on this event loop.

    The parameters are those of :func:`autotask.worker.execution.execute`.

    :raises NoThread: the attempt has not begun, since it needs a thread of its own, and the system has none left.
    """
    begun = time.monotonic()
    if task.late is not None:
        return await _conclude(execution.told, task, outcome.expired(task, ended_at=begun))
    traces, caller = sync_threads.enter()
    _spare.take()
    refuse_open = functools.partial(_refuse_open, traces, caller)
    try:
        if payload.carries(task.payload):
            return await _as_called(task, is_cancelled, reporter, place, refuse_open, begun, caller)
        return await _attempt(task, is_cancelled, reporter, place, refuse_open, begun)
    finally:
        _spare.leave()
        caller.end()
        traces.end()


async def _as_called(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
    refuse_open: RefuseOpen,
    begun: float,
    caller: Caller,
) -> Outcome | GiveBack:
    """Run one attempt with what the call carries restored around it.

    What a carrier changes in a thread would reach all other coroutines in the one that these share. So the queries of this
    one then have a thread and connections of their own, as those of a request have.
    """
    try:
        carried = payload.load_carried(task.payload, id=task.id, name=task.name)
        if needs_thread := carriers.need_thread(carried):
            caller.take_thread()
            leave = await sync_to_async(_restored)(carried, task)
        else:
            leave = functools.partial(execution.leave, carriers.restored(carried), task)
    except NoThread:
        raise
    except (UnknownCarrier, PayloadTooNew) as error:
        return await _conclude(execution.unknown, task, error)
    except BaseException as error:  # noqa: B036 - a carrier of the project can raise anything
        if place.is_destroyed():
            raise
        return await _conclude(execution.without_arguments, task, error, None, is_cancelled(task), begun)
    try:
        return await _attempt(task, is_cancelled, reporter, place, refuse_open, begun, load_in_thread=needs_thread)
    finally:
        if needs_thread:
            caller.submit(leave)  # Nobody waits for that: what was cut off may still be at work there.
        else:
            leave()


def _restored(carried: dict[str, Any], task: ClaimedTask) -> Callable[[], None]:
    """Restore what a call carries, in this thread, and return what ends that.

    Both happen in one context, since a context variable can be reset in no other one than it was set in. What is set there
    is set here too, from where asgiref takes it over to the coroutine.
    """
    context = contextvars.copy_context()
    restored = context.run(carriers.restored, carried)
    for variable in context:
        variable.set(context[variable])
    return functools.partial(context.run, execution.leave, restored, task)


async def _attempt(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
    refuse_open: RefuseOpen,
    begun: float,
    *,
    load_in_thread: bool = False,
) -> Outcome | GiveBack:
    options: Options | None = None
    try:
        definition = await _find(task)
        options = definition.options
        if not definition.is_async:  # It was when the task was enqueued.
            attempt = PlainAttempt(place.stop_request())
            return await sync_to_async(execution.execute, thread_sensitive=False)(task, is_cancelled, reporter, attempt)
        args, kwargs = await _load(task, in_thread=load_in_thread)
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
        generation = forks.generation
        try:
            value = await place.wait_for(definition.for_attempt(task, context)(*args, **kwargs))
        finally:
            forks.end_if_newer(generation)
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


async def get_ready() -> None:
    """Start the one thread from which all coroutines use the database, so that none of them is without it later.

    :raises RuntimeError: the system has no thread left.
    """
    await asyncio.wrap_future(shared.submit(_nothing))


def _nothing() -> None:
    pass


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


async def _load(task: ClaimedTask, *, in_thread: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    load = functools.partial(payload.load_arguments, task.payload, id=task.id, name=task.name)
    if in_thread:
        return await sync_to_async(load)()
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
