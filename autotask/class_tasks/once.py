"""The definition of an AsyncTask: one task for each id, which runs again after its end if need be."""

import functools
import inspect
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from autotask import payload
from autotask.class_tasks.definition import END_HOOKS, ClassTask, Run, plain
from autotask.context import TaskContext
from autotask.exceptions import InvalidOption, NotRetryable, UnknownTaskId, UnsuitableFunction, UnsuitableTaskId
from autotask.flow import Flow
from autotask.handle import TaskHandle
from autotask.options import Options
from autotask.store import notify, once
from autotask.store.connection import current, in_transaction
from autotask.store.enqueue import NewTask
from autotask.store.once import Former
from autotask.store.unique import Stored
from autotask.task import ClaimedTask, State
from autotask.task_log import logger_of
from autotask.values import seconds

if TYPE_CHECKING:
    from autotask.class_tasks.async_task import AsyncTask
    from autotask.class_tasks.core import TaskClass

P = ParamSpec("P")
R = TypeVar("R")

#: The parameter of main() for the logger of its task.
LOGGER = "logger"

#: In characters.
LONGEST_ID = 200


class OnceTask(ClassTask[P, R]):
    """The definition of an AsyncTask."""

    end_hooks = ("callback", *END_HOOKS)

    def __init__(self, owner: type["TaskClass"], function: Callable[P, Any], name: str, options: Options) -> None:
        super().__init__(owner, function, name, options)
        parameters = self.signature.parameters.values()
        if "task_id" in self.signature.parameters:
            raise UnsuitableFunction(
                function=f"{name}.main()",
                problem="it has a parameter task_id, which run() needs for the ids of known tasks",
                advice="Give it another name.",
            )
        if not self._has_own_ids or any(p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters):
            return
        own = inspect.signature(cast("AsyncTask", object.__new__(owner)).get_task_id)
        try:
            own.bind(**dict.fromkeys(self.signature.parameters))
        except TypeError:
            expected = f"a method with the parameters of main(), {self.signature}"
            raise InvalidOption(option="get_task_id", where=name, expected=expected, value=str(own)) from None

    def run(self, arguments: Mapping[str, Any]) -> str:
        """Store a call unless its task is live, or has a result that counts; return its id."""
        self.refuse_unreachable()
        args, kwargs = self.parameters.from_object(arguments, self.name)
        made: list[NewTask] = []

        def make(carried: Mapping[str, Any]) -> list[NewTask]:
            made.append(self.new_call(args, kwargs, carried))
            return made

        self.sent(make)
        return self.task_id(made[0].flow)

    def run_again(self, task_id: str) -> str:
        """Do the same for the arguments of a known task.

        :raises UnknownTaskId: there is none with that id.
        """
        self.refuse_unreachable()
        former = once.find(current(), self.key(task_id), self._limit) if _is_id(task_id) else None
        if former is None:
            raise UnknownTaskId(task=self.name, task_id=task_id)
        if former.again:
            if former.payload is None or former.flow is None:  # a worker of an older version has recorded its end
                raise NotRetryable(id=former.id, reason="its arguments are not kept")
            flow = Flow.load(former.flow)
            self.store([NewTask(former.id, self._kind, former.arguments, former.payload, flow)])
        return task_id

    def handle(self, task_id: str) -> TaskHandle[R] | None:
        """Return the handle of a task; None if there is none with that id."""
        former = once.find(current(), self.key(task_id)) if _is_id(task_id) else None
        return None if former is None else TaskHandle(former.id, self.name)

    def known(self, task_id: str) -> uuid.UUID:
        """Return the id of the row of a task.

        :raises UnknownTaskId: there is none with that id.
        """
        if (handle := self.handle(task_id)) is None:
            raise UnknownTaskId(task=self.name, task_id=task_id)
        return handle.id

    def key(self, task_id: str) -> str:
        """Return the unique key of the task with an id."""
        return f"{self.name}({task_id})"

    def task_id(self, flow: Flow | None) -> str:
        """Return the id of the task with this flow."""
        key = (flow.unique_key if flow else None) or ""
        return key[len(self.name) + 1 : -1]

    @property
    def is_plain(self) -> bool:
        """False: each call has its id as a key."""
        return False

    def new_call(self, args: tuple[Any, ...], kwargs: dict[str, Any], *more: Any, **options: Any) -> NewTask:
        """Return the task of a call, with its id as the unique key.

        :raises UnsuitableTaskId: ``get_task_id()`` has returned something else than an id.
        """
        task = super().new_call(args, kwargs, *more, **options)
        task_id = task.id.hex
        if self._has_own_ids:
            task_id = self._of_class.get_task_id(*args, **kwargs)
            if not _is_id(task_id):
                raise UnsuitableTaskId(task=self.name, longest=LONGEST_ID, value=task_id)
        gates = task.flow.gates if task.flow else ()
        return task._replace(flow=Flow(gates, self.key(task_id), once=True))

    def given(self, context: TaskContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the arguments with which main() is called: with its logger, if it takes that."""
        args, kwargs = super().given(context, args, kwargs)
        if LOGGER not in self._written.parameters:
            return args, kwargs
        without = self._written.replace(parameters=_without_logger(self._written))
        given = without.bind(*args, **kwargs).arguments
        bound = inspect.BoundArguments(self._written, {**given, LOGGER: logger_of(str(context.id))})
        return bound.args, bound.kwargs

    def call_hooks(self, task: ClaimedTask, state: State, error: BaseException | None, run: Run | None) -> None:
        """Call ``callback()`` at the end of the task, then the other hooks."""
        if not state.ended or (run is None and state is State.DONE):
            super().call_hooks(task, state, error, run)
            return
        try:
            instance = cast("AsyncTask", run.instance if run else self.stand_in(task))
            flow = Flow.load(task.flow) if task.flow else None
            plain(instance.callback)(_finished(state, error, run), self.task_id(flow))
        finally:
            super().call_hooks(task, state, error, run)

    def log_key(self, task: ClaimedTask) -> str | None:
        """Return the id: the log file of the task has a link by this name."""
        return self.task_id(Flow.load(task.flow)) if task.flow else None

    @cached_property
    def signature(self) -> inspect.Signature:
        """The signature of main() without its context and its logger."""
        parameters = _without_logger(self._written)
        if self.options.takes_context and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            parameters = parameters[1:]
        return self._written.replace(parameters=parameters)

    @cached_property
    def _written(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @cached_property
    def _has_own_ids(self) -> bool:
        return self.owner._overrides("get_task_id")

    @property
    def _of_class(self) -> "AsyncTask":
        return cast("AsyncTask", self.owner())

    @cached_property
    def _limit(self) -> float | None:
        limit = cast("type[AsyncTask]", self.owner).rerun_time_limit
        return None if limit is None else seconds(limit, "rerun_time_limit", self.name)

    def _insert_flowing(self, handles: Sequence[TaskHandle[R]], tasks: list[NewTask]) -> None:
        """Store the calls whose task has to run, and make all handles those of the tasks of their ids."""
        connection = current()
        by_id = {handle.id: handle for handle in handles}  # of those that were cancelled before the commit, too
        stored = in_transaction(connection, lambda: self._store(*tasks)) if len(tasks) > 1 else self._store(*tasks)
        for id, done in stored.items():
            by_id[id].id, by_id[id].created = done.id, done.created
        if changed := [done.renewed for done in stored.values() if done.renewed is not None]:
            notify.wake_after_commit(connection)
            self._announce(connection, changed, changed)

    def _store(self, *tasks: NewTask) -> dict[uuid.UUID, Stored]:
        # In the order of their keys, so that two such calls do not wait for each other.
        return {
            task.id: once.store(
                current(), self.key(self.task_id(task.flow)), self._limit, functools.partial(_in_place_of, task)
            )
            for task in sorted(tasks, key=lambda task: self.task_id(task.flow))
        }


def _in_place_of(task: NewTask, former: Former | None) -> NewTask:
    """Return a call as that of the task that it replaces."""
    if former is None or former.id == task.id:
        return task
    envelope = payload.readdress_arguments(task.payload, id=task.id, to=former.id, name=task.kind.name)
    return task._replace(id=former.id, payload=envelope)


def _without_logger(signature: inspect.Signature) -> list[inspect.Parameter]:
    return [parameter for parameter in signature.parameters.values() if parameter.name != LOGGER]


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_ID and value.isprintable()


def _finished(state: State, error: BaseException | None, run: Run | None) -> "Future[Any]":
    """Return a future that is done, with the value or the exception of a task."""
    future: Future[Any] = Future()
    if state is State.DONE and run is not None:
        future.set_result(run.value)
    elif error is not None:
        future.set_exception(error)
    else:  # cancelled before it began
        future.cancel()
        future.set_running_or_notify_cancel()
    return future
