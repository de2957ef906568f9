"""Django's task as a definition of autotask: stores, finds and calls it, and sends Django's signals."""

import functools
import logging
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import sync_to_async
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from django.utils.module_loading import import_string

from autotask import payload
from autotask.backend import result as results
from autotask.backend.result import AutotaskResult
from autotask.backend.task import extra_options
from autotask.context import TaskContext
from autotask.definition import Definition
from autotask.django_tasks import (
    AnyTask,
    BaseTaskBackend,
    Task,
    TaskContext as DjangoContext,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from autotask.exceptions import NothingRan, PayloadRefused
from autotask.functions import refuse_unsuitable, still_to_be_run
from autotask.handle import TaskHandle
from autotask.options import Options
from autotask.store import read
from autotask.store.connection import current
from autotask.store.enqueue import NewTask
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import ResultRefused

logger = logging.getLogger("autotask.worker")

#: Seconds for which results are kept by default: callers may ask Django for a result much later.
TTL = 86400

#: The option of the backend that says whether arguments and values must be JSON.
SERIALIZER = "SERIALIZER"

# The results of the attempts that are running in this process, by id and fence.
_running: dict[tuple[uuid.UUID, int], AutotaskResult] = {}


#: Called with the id of a new task after it is stored and before it runs.
_tell: ContextVar[Callable[[uuid.UUID], object] | None] = ContextVar("autotask_tell", default=None)


class DjangoTask(Definition[Any, Any]):
    """A definition made of a task of Django.

    :param task: an instance of Django's Task.
    :raises AutotaskError: its options are invalid.
    """

    def __init__(self, task: AnyTask) -> None:
        where = f"@task of {task.module_path}"
        options = Options.of(where, **_options(task))
        refuse_unsuitable(task.func, options, where)
        super().__init__(task.func, task.module_path, options)
        self.task = task

    def store_through(
        self,
        alias: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        tell: Callable[[uuid.UUID], object] | None = None,
    ) -> TaskHandle[Any]:
        """Store a call, in the caller's transaction, and return the handle of its task.

        :param alias: the alias of the backend through which it is enqueued.
        :param tell: called with the id of a new task before that runs, with ``AUTOTASK_IMMEDIATE``.
        """
        before = _tell.set(tell)
        try:
            return self.sent(lambda carried: [self.new_call(args, kwargs, carried, before=(alias,))])[0]
        finally:
            _tell.reset(before)

    def _announce(self, connection: BaseDatabaseWrapper, new: list[NewTask], changed: list[NewTask]) -> None:
        if (tell := _tell.get()) is not None:
            _tell.set(None)  # The task may enqueue others.
            for task in new:
                tell(task.id)
        super()._announce(connection, new, changed)

    @classmethod
    def find(cls, claimed: ClaimedTask) -> "DjangoTask | None":
        """Return the definition of a claimed task if its name is the module path of a task of Django.

        Nothing is imported for a task that this site has not enqueued under that name.
        """
        try:
            payload.verify_arguments(claimed.payload, id=claimed.id, name=claimed.name)
        except PayloadRefused:
            return None
        task = at(claimed.name)
        return None if task is None else cls(task)

    def as_called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return stored arguments as the caller gave them, without the alias of the backend."""
        return args[1:], kwargs

    def in_context(self, result: AutotaskResult) -> Callable[..., Any]:
        """Return the function, with Django's context as its first argument if it takes one."""
        function: Callable[..., Any] = self.function
        return functools.partial(function, DjangoContext(task_result=result)) if self.task.takes_context else function

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return a callable that calls the function as Django would: with Django's context, and its signals around it."""
        return functools.partial(_arun if self.is_async else _run, self, task)

    def attempt_ended(self, task: ClaimedTask, state: State, message: str, error: BaseException | None) -> None:
        """Send Django's ``task_finished``, unless the task will run again."""
        result = _running.pop((task.id, task.fence), None)
        if not state.ended:
            return
        try:
            if result is None:  # The attempt ended before its function was called, or in another process.
                result = look_up(task.id)
            if result is not None and not result.is_finished:
                problem = None if state is State.DONE else results.error_of(error, message)
                _send_finished(results.ended(result, problem))
        except Exception:
            logger.exception("task_finished could not be sent to Django's receivers for %s %s", task.name, task.id)


def look_up(id: uuid.UUID, alias: str | None = None) -> AutotaskResult | None:
    """Return the current result of a task; None if it is not in the database, or not a task of Django.

    :param alias: the alias of the backend that was asked; by default that of the task where it is defined.
    :raises PayloadRefused: its stored arguments or value were altered. Nothing is imported for it.
    """
    history = read.history(current(), id)
    if history is None or (kept := results.kept(history)) is None:
        return None
    task = at(history.task.name)
    return None if task is None else results.stored(task, history, alias or task.backend, kept)


def at(module_path: str) -> AnyTask | None:
    """Return the task of Django at a module path; None if there is none, or it cannot be imported."""
    try:
        found = import_string(module_path)
    except ImportError:
        return None
    except Exception:
        logger.exception("The module of %s cannot be imported here", module_path)
        return None
    return found if isinstance(found, Task) else None


def send_lost(task_id: uuid.UUID, name: str, ended: bool, **_: Any) -> None:
    """Send Django's ``task_finished`` for a task that has ended because its workers died: a receiver of ``task_lost``."""
    if ended and at(name) is not None and (result := look_up(task_id)) is not None:
        _send_finished(result)


def defaults(backend: BaseTaskBackend) -> dict[str, Any]:
    """Return the default options of tasks."""
    given = {name.lower(): value for name, value in backend.options.items() if name != SERIALIZER}
    return {"ttl": TTL, **given}


def _options(task: AnyTask) -> dict[str, Any]:
    after: Any = task.run_after  # Autotask takes a timedelta, too.
    later = {"delay": after} if isinstance(after, timedelta) else {"run_after": _aware(after)}
    return {
        **defaults(task.get_backend()),
        **extra_options(task),
        **later,
        "queue": task.queue_name,
        "priority": int(task.priority),
        "takes_context": task.takes_context,
    }


def _run(definition: DjangoTask, claimed: ClaimedTask, alias: str, /, *args: Any, **kwargs: Any) -> Any:
    backend, past = task_backends[alias], _past(claimed)
    result = _begin(definition, claimed, alias, args, kwargs, past)
    task_started.send_robust(sender=type(backend), task_result=result)
    return _kept(definition.in_context(result)(*args, **kwargs), result, claimed, backend)


async def _arun(definition: DjangoTask, claimed: ClaimedTask, alias: str, /, *args: Any, **kwargs: Any) -> Any:
    backend, past = task_backends[alias], await sync_to_async(_past)(claimed)
    result = _begin(definition, claimed, alias, args, kwargs, past)
    await task_started.asend_robust(sender=type(backend), task_result=result)
    return _kept(await definition.in_context(result)(*args, **kwargs), result, claimed, backend)


def _begin(
    definition: DjangoTask,
    claimed: ClaimedTask,
    alias: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    past: read.History | None,
) -> AutotaskResult:
    result = results.running(definition.task, claimed, alias, args, kwargs, past)
    _running[claimed.id, claimed.fence] = result
    return result


def _past(claimed: ClaimedTask) -> read.History | None:
    return read.history(current(), claimed.id) if claimed.attempt > 1 else None


def _kept(value: Any, result: AutotaskResult, claimed: ClaimedTask, backend: BaseTaskBackend) -> tuple[Any, str, bytes]:
    """Return the value to store, see :class:`autotask.backend.result.Kept`."""
    if what := still_to_be_run(value):
        raise NothingRan(task=claimed.name, what=what)
    if getattr(backend, "is_strict", False):
        try:
            value = normalize_json(value)
        except (TypeError, ValueError) as error:
            raise ResultRefused from error
    results.keep_value(result, value)
    return results.Kept(value, claimed.name, claimed.payload).as_stored()


def _send_finished(result: AutotaskResult) -> None:
    task_finished.send_robust(sender=type(task_backends[result.backend]), task_result=result)


def _aware(moment: Any) -> Any:
    """Return a moment with a zone: with USE_TZ = False, Django accepts it without one."""
    if isinstance(moment, datetime) and timezone.is_naive(moment):
        return timezone.make_aware(moment, timezone.get_default_timezone())
    return moment
