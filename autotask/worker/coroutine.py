"""Run one attempt of a coroutine function on the event loop: find, load, await, decide, tell."""

import asyncio
import contextvars
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from autotask import carriers, payload, registry, telemetry
from autotask.context import TaskContext, enter
from autotask.definition import Definition
from autotask.payload import Arguments
from autotask.signals import task_started
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import execution, forks, hygiene, log_capture, outcome, steps, sync_threads
from autotask.worker.execution import IsCancelled
from autotask.worker.kept import Spare
from autotask.worker.outcome import Released
from autotask.worker.pools.base import Uninterrupted
from autotask.worker.pools.coroutines import CoroutinePlace
from autotask.worker.reporter import Reports
from autotask.worker.sealing import load_arguments
from autotask.worker.surroundings import left_open_error
from autotask.worker.sync_threads import Caller, NoThread, shared
from autotask.worker.traces import Traces

logger = logging.getLogger("autotask.worker")

#: Raises if the effect of an attempt is going to be lost.
RefuseOpen = Callable[[], Awaitable[None]]


async def execute(
    task: ClaimedTask, is_cancelled: IsCancelled, reporter: Reports, place: CoroutinePlace[ClaimedTask]
) -> Outcome | Released:
    """Run one attempt of a task on this event loop.

    The parameters are those of :func:`autotask.worker.execution.execute`.

    :raises NoThread: the attempt has not begun: it needs a thread of its own, and the system has none left.
    """
    begun = time.monotonic()
    if task.late is not None:
        return await _tell(task, outcome.expired(task, ended_at=begun))
    traces, caller = sync_threads.enter()
    _spare.take()
    attempt = _Attempt(task, is_cancelled, reporter, place, functools.partial(_refuse_open, traces, caller), begun)
    try:
        if telemetry.used is None:
            return await attempt.start(caller)
        with steps.reported(task):
            return await attempt.start(caller)
    finally:
        _spare.leave()
        caller.end()
        traces.end()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt, with its parts."""

    task: ClaimedTask
    is_cancelled: IsCancelled
    reporter: Reports
    place: CoroutinePlace[ClaimedTask]
    refuse_open: RefuseOpen
    begun: float

    async def start(self, caller: Caller) -> Outcome | Released:
        """Run it, with what its call carries."""
        if payload.carries(self.task.payload):
            return await self.run_as_called(caller)
        return await self.run()

    async def run_as_called(self, caller: Caller) -> Outcome | Released:
        """Run it with the values that its call carries restored around it.

        A change that a carrier makes in a thread would reach all coroutines that share the thread. So the queries of this
        one then have a thread and connections of their own, as those of a request have.
        """
        task = self.task
        try:
            carried = payload.load_carried(task.payload, id=task.id, name=task.name)
            if needs_thread := carriers.need_thread(carried):
                caller.take_thread()
                leave = await sync_to_async(_restored)(carried, task)
            else:
                leave = functools.partial(execution.leave, carriers.restored(carried), task)
        except NoThread:
            raise
        except BaseException as error:  # noqa: B036 - a carrier of the project can raise anything
            return await self._decide(error, None, None)
        try:
            return await self.run(load_in_thread=needs_thread)
        finally:
            if needs_thread:
                caller.submit(leave)  # Nobody waits for that: a call that was cut off may still run there.
            else:
                leave()

    async def run(self, *, load_in_thread: bool = False) -> Outcome | Released:
        """Take it through its steps."""
        task = self.task
        definition: Definition[Any, Any] | None = None
        try:
            definition = await _find(task)
            if not definition.is_async:  # It was async when the task was enqueued.
                return await self._run_in_thread()
            arguments = await _load(task, in_thread=load_in_thread)
        except BaseException as error:  # noqa: B036 - unpickling can raise anything
            return await self._decide(error, definition, None)
        if telemetry.used is not None:
            steps.tell_loaded(definition, arguments)
        if log_capture.is_on:
            log_capture.begin(task, definition)
        if task_started.receivers:
            await task_started.asend_robust(sender=None, task=task)
        context = steps.context_of(task, self.place.stop_request(), self.reporter)
        try:
            return await _tell(task, await self._call(definition, context, arguments))
        except BaseException as error:  # noqa: B036 - a task can end with any exception
            return await self._decide(error, definition, arguments)
        finally:
            context.close()
            if log_capture.is_on:
                log_capture.close(task)

    async def _call(
        self, definition: Definition[Any, Any], context: TaskContext, arguments: Arguments
    ) -> Outcome | Released:
        enter(context)
        args, kwargs = arguments
        generation = forks.generation
        try:
            value = await self.place.wait_for(definition.for_attempt(self.task, context)(*args, **kwargs))
        finally:
            if forks.generation != generation:
                forks.end()
        await self.refuse_open()
        return steps.seal(self.task, value, self.begun)

    async def _run_in_thread(self) -> Outcome | Released:
        interruptible = Uninterrupted(self.place.stop_request())
        execute = sync_to_async(execution.execute, thread_sensitive=False)
        return await execute(self.task, self.is_cancelled, self.reporter, interruptible)

    async def _decide(
        self, error: BaseException, definition: Definition[Any, Any] | None, arguments: Arguments | None
    ) -> Outcome | Released:
        """Decide the outcome, and tell it; unless the coroutine is only being destroyed with its event loop."""
        if self.place.is_destroyed():
            raise error
        cancelled = self.is_cancelled(self.task)
        return await _tell(self.task, *steps.decide(self.task, error, definition, arguments, cancelled, self.begun))


def _restored(carried: dict[str, Any], task: ClaimedTask) -> Callable[[], None]:
    """Restore the values that a call carries, in this thread, and return the function that undoes that.

    Both run in one context, since a context variable can only be reset in the context where it was set. Variables set there
    are set here too, and asgiref takes them over to the coroutine.
    """
    context = contextvars.copy_context()
    restored = context.run(carriers.restored, carried)
    for variable in context:
        variable.set(context[variable])
    return functools.partial(context.run, execution.leave, restored, task)


async def get_ready() -> None:
    """Start the one thread from which all coroutines use the database, so that none of them lacks it later.

    :raises RuntimeError: the system has no threads left.
    """
    await asyncio.wrap_future(shared.submit(_nothing))


def _nothing() -> None:
    pass


async def _refuse_open(traces: Traces, caller: Caller) -> None:
    """Raise if the effect of the attempt is going to be lost.

    :raises TransactionLeftOpen: it has left a transaction open.
    """
    if caller.has_own_thread:
        traces.note_left_open(await asyncio.wrap_future(caller.submit(hygiene.left_open)))
    traces.settle()
    traces.note_left_open(caller.left_open)
    if traces.left_open:
        raise left_open_error(list(traces.left_open))


async def _find(task: ClaimedTask) -> Definition[Any, Any]:
    if registry.known(task.name) is None:
        return await sync_to_async(registry.find)(task)  # It may import a module, whose code may do anything.
    return registry.find(task)


async def _load(task: ClaimedTask, *, in_thread: bool) -> Arguments:
    if in_thread:
        return await sync_to_async(load_arguments)(task)
    try:
        return load_arguments(task)
    except SynchronousOnlyOperation:  # Unpickling can use the database, as for instances of models.
        return await sync_to_async(load_arguments)(task)


async def _tell(task: ClaimedTask, ended: Outcome | Released, error: BaseException | None = None) -> Outcome | Released:
    """Take the last step; in a thread if there are receivers, which may use the database."""
    if steps.has_receivers(task.name):
        return await sync_to_async(steps.tell)(task, ended, error)
    return steps.tell(task, ended, error)


async def tidy(ended: Outcome | Released, is_idle: Callable[[], bool]) -> None:
    """Tidy the Django connections of the one thread from which all coroutines of this process use the database.

    :param is_idle: returns whether no other coroutine runs. If one does, it may be reading rows.
    """
    cut_off = not (isinstance(ended, Outcome) and ended.state is State.DONE)
    if cut_off and not is_idle():
        await asyncio.wrap_future(shared.submit(hygiene.drop_broken_connections))
    # Asked again: the others may have finished meanwhile, and have left this to the last one.
    if is_idle() and (cut_off or shared.has_connected):
        await asyncio.wrap_future(shared.submit(functools.partial(hygiene.tidy_connections, unsure=cut_off)))


_spare = Spare()
