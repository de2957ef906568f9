"""The definition of a task that is a class: makes an instance for each attempt, and calls its hooks."""

import functools
import inspect
import logging
import types
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from autotask import context as contexts, payload
from autotask.context import TaskContext
from autotask.delayed import DelayedTask
from autotask.functions import is_coroutine_function, refuse_unsuitable
from autotask.options import Options
from autotask.task import ClaimedTask, State, new_id

if TYPE_CHECKING:
    from autotask.class_tasks.core import TaskClass

logger = logging.getLogger("autotask.worker")

P = ParamSpec("P")
R = TypeVar("R")

#: The id of a task, and the fence of its claim.
Claim = tuple[uuid.UUID, int]

#: The hooks that are called when an attempt has ended.
END_HOOKS = ("on_success", "on_failure", "on_retry")


class Run:
    """One attempt that has begun.

    :ivar instance: a fresh one.
    :ivar value: the value of its method; None until it has returned.
    """

    __slots__ = ("instance", "value")

    def __init__(self, instance: "TaskClass") -> None:
        self.instance = instance
        self.value: Any = None


class ClassTask(DelayedTask[P, R]):
    """The definition of a task that is a class.

    :param owner: the class.
    :param function: stands for its method, see :func:`function_of`.
    """

    #: The hooks for which workers call :meth:`attempt_ended`, if the class overrides one of them.
    end_hooks: tuple[str, ...] = END_HOOKS

    def __init__(self, owner: type["TaskClass"], function: Callable[P, Any], name: str, options: Options) -> None:
        super().__init__(function, name, options)
        self.owner = owner
        self.hears_ends = any(owner._overrides(hook) for hook in self.end_hooks)
        self._prepares = owner._overrides("before_start")
        # Of attempts that run in this process. An entry ends with its attempt.
        self._running: dict[Claim, Run] = {}

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return a callable that runs the method of a fresh instance."""
        return functools.partial(self._arun if self.is_async else self._run, (task.id, task.fence), context)

    def attempt_ended(self, task: ClaimedTask, state: State, message: str, error: BaseException | None) -> None:
        """Call the hooks for the end of an attempt. An exception that one of them raises is logged, and has no effect."""
        run = self._running.pop((task.id, task.fence), None)
        try:
            self.call_hooks(task, state, error, run)
        except BaseException:  # noqa: B036 - a hook of the project can raise anything
            logger.exception("A hook for the end of %s %s failed", task.name, task.id)

    def call_hooks(self, task: ClaimedTask, state: State, error: BaseException | None, run: Run | None) -> None:
        """Call the hooks for the end of an attempt.

        :param run: None if its method was not called, or runs in another process.
        """
        instance = run.instance if run else self.stand_in(task)
        if state is State.DONE:
            if run:  # else it has succeeded in another process, which has called the hook
                plain(instance.on_success)(run.value)
        elif state is State.ERROR:
            plain(instance.on_failure)(error)
        elif state is State.RETRY:
            plain(instance.on_retry)(error)

    def stand_in(self, task: ClaimedTask) -> "TaskClass":
        """Return an instance for the hooks of an attempt whose own one is not here; without arguments if they are lost."""
        context = TaskContext(task.id, task.name, task.attempt, task.scheduled_for)
        try:
            args, kwargs = payload.load_arguments(task.payload, id=task.id, name=task.name)
            context.subject, context.metadata = payload.about(task.payload)
        except Exception:  # unpickling can raise anything; it may be the reason for the failure
            args, kwargs = (), {}
        return self.fresh(context, args, kwargs)

    def fresh(
        self, context: TaskContext, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> "TaskClass":
        """Return an instance for one attempt.

        :raises Exception: its ``__init__`` raised.
        """
        instance = self.owner()
        instance.context = context
        instance.arguments = self.bound(args, kwargs or {}) if args or kwargs else {}
        return instance

    def given(self, context: TaskContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments with which the method is called."""
        return ((context, *args) if self.options.takes_context else args), kwargs

    def _run(self, claim: Claim | None, context: TaskContext, /, *args: Any, **kwargs: Any) -> Any:
        run = self._begin(claim, context, args, kwargs)
        if self._prepares:
            plain(run.instance.before_start)()
        args, kwargs = self.given(context, args, kwargs)
        run.value = self._method(run)(*args, **kwargs)
        return run.value

    async def _arun(self, claim: Claim | None, context: TaskContext, /, *args: Any, **kwargs: Any) -> Any:
        run = self._begin(claim, context, args, kwargs)
        if self._prepares:
            await _awaitable(run.instance.before_start)()
        args, kwargs = self.given(context, args, kwargs)
        run.value = await self._method(run)(*args, **kwargs)
        return run.value

    def _begin(self, claim: Claim | None, context: TaskContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Run:
        run = Run(self.fresh(context, args, kwargs))
        if claim is not None and self.hears_ends:
            self._running[claim] = run
        return run

    def _method(self, run: Run) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(run.instance, self.owner._body)
        return method

    def _in_place(self) -> Callable[..., Any]:
        context = contexts.current() or TaskContext(new_id(), self.name)
        return functools.partial(self._arun if self.is_async else self._run, None, context)

    def _with(self, options: Options) -> Self:
        return type(self)(self.owner, self.function, self.name, options)


def function_of(owner: type["TaskClass"], options: Options, where: str) -> Callable[..., Any]:
    """Return a function that stands for the method of a class: with its signature, and the name and module of the class.

    :param where: the class, for messages.
    :raises UnsuitableFunction: calling the method would run nothing of it.
    :raises InvalidOption: an option does not suit it.
    """
    written = inspect.getattr_static(owner, owner._body)
    is_plain = not isinstance(written, (staticmethod, classmethod))
    method: Any = types.MethodType(written, owner) if is_plain else getattr(owner, owner._body)
    refuse_unsuitable(method, options, where)

    def function(*args: Any, **kwargs: Any) -> Any:
        return owner.definition.call(*args, **kwargs)

    async def coroutine_function(*args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(owner.definition.call)(*args, **kwargs)

    made: Any = coroutine_function if is_coroutine_function(method) else function
    made.__module__, made.__qualname__ = owner.__module__, owner.__qualname__
    made.__name__, made.__doc__ = owner.__name__, owner.__doc__
    made.__signature__ = inspect.signature(method)
    made.__wrapped__ = getattr(method, "__func__", method)
    return made  # type: ignore[no-any-return]


def plain(hook: Callable[..., Any]) -> Callable[..., Any]:
    return async_to_sync(hook) if is_coroutine_function(hook) else hook


def _awaitable(hook: Callable[..., Any]) -> Callable[..., Any]:
    return hook if is_coroutine_function(hook) else sync_to_async(hook)
