"""One task with a coroutine function from claim to outcome, on the event loop: load, await, time, catch, decide."""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
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
from autotask.worker.sync_threads import Caller, shared
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
    """Run one attempt of a task on this event loop. Never raises.

    The parameters are those of :func:`autotask.worker.execution.execute`.
    """
    begun = time.monotonic()
    if task.late is not None:
        return await _conclude(execution.told, task, outcome.expired(task, ended_at=begun))
    traces, caller = sync_threads.enter()
    _spare.take()
    run = _as_called if payload.carries(task.payload) else _attempt
    try:
        return await run(task, is_cancelled, reporter, place, functools.partial(_refuse_open, traces, caller), begun)
    finally:
        _spare.leave()
        caller.end()
        traces.settle()


async def _as_called(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
    refuse_open: RefuseOpen,
    begun: float,
) -> Outcome | GiveBack:
    """Run one attempt with what the call carries restored around it."""
    try:
        carried = payload.load_carried(task.payload, id=task.id, name=task.name)
        if carriers.need_thread(carried):
            return await _in_own_thread(task, is_cancelled, reporter, place, refuse_open, begun, carried)
        restored = carriers.restored(carried)
    except (UnknownCarrier, PayloadTooNew) as error:
        return await _conclude(execution.unknown, task, error)
    except BaseException as error:  # noqa: B036 - a carrier of the project can raise anything
        if place.is_destroyed():
            raise
        return await _conclude(execution.without_arguments, task, error, None, is_cancelled(task), begun)
    try:
        return await _attempt(task, is_cancelled, reporter, place, refuse_open, begun)
    finally:
        execution.leave(restored, task)


async def _in_own_thread(
    task: ClaimedTask,
    is_cancelled: Callable[[ClaimedTask], bool],
    reporter: Reports,
    place: CoroutinePlace[ClaimedTask],
    refuse_open: RefuseOpen,
    begun: float,
    carried: dict[str, Any],
) -> Outcome | GiveBack:
    """Run one attempt whose queries have a thread and connections of their own, as those of a request have.

    What the carriers change there would reach all other coroutines in the one thread that these share.
    """
    own = Traces()
    await own.__aenter__()  # type: ignore[no-untyped-call]  # of asgiref
    restored = None
    try:
        # What this sets in the context of that thread asgiref takes over into the context of this coroutine.
        restored = await sync_to_async(_restored)(carried)
        refuse_there = functools.partial(_refuse_open_there, own, refuse_open)
        return await _attempt(task, is_cancelled, reporter, place, refuse_there, begun, load_in_thread=True)
    finally:
        if not place.is_destroyed():
            if restored is not None:
                await sync_to_async(execution.leave)(restored, task)
            await sync_to_async(_end_connections)()
            await own.__aexit__(None, None, None)  # type: ignore[no-untyped-call]  # of asgiref
        own.settle()


def _restored(carried: dict[str, Any]) -> ExitStack:
    tidiness.tidy_connections()  # From now on this thread is known to tidy its connections itself.
    return carriers.restored(carried)


def _end_connections() -> None:
    tidiness.tidy_connections(unsure=True)
    tidiness.close_connections()


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


async def _refuse_open_there(own: Traces, refuse_open: RefuseOpen) -> None:
    """The same for an attempt whose queries have a thread of their own."""
    own.note_left_open(await sync_to_async(tidiness.left_open)())
    own.settle()
    if own.left_open:
        raise left_open_error(list(own.left_open))
    await refuse_open()


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
