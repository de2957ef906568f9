"""Django's TaskResult, made from the database: statuses, errors of all attempts, and arguments when asked for."""

import functools
import traceback
import uuid
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings as django_settings
from django.utils import timezone

from autotask import payload
from autotask.backend.task import varied
from autotask.django_tasks import TASK_REFRESH_ATTRS, AnyResult, AnyTask, TaskError, TaskResultStatus
from autotask.exceptions import TaskCancelled, WorkerLost
from autotask.store.read import History, StoredAttempt, StoredTask
from autotask.task import ClaimedTask, State, enqueued_at

#: A task that is due at once is enqueued and due within one statement.
_SAME_MOMENT = timedelta(milliseconds=1)

_STATUS = {
    State.SCHEDULED: TaskResultStatus.READY,
    State.READY: TaskResultStatus.READY,
    State.HELD: TaskResultStatus.READY,
    State.RUNNING: TaskResultStatus.RUNNING,
    State.DONE: TaskResultStatus.SUCCESSFUL,
    State.ERROR: TaskResultStatus.FAILED,
    State.CANCELLED: TaskResultStatus.FAILED,
}


class Kept(NamedTuple):
    """The value that is stored for a task of Django, with the arguments, which are in its result but not in a DONE row.

    :ivar name: the name of the task, so that the signature of the value covers it.
    :ivar arguments: the arguments in their envelope.
    """

    value: Any
    name: str
    arguments: bytes

    def as_stored(self) -> tuple[Any, str, bytes]:
        """Return a tuple to pickle: to unpickle it, autotask need not be imported."""
        return self.value, self.name, self.arguments


class StoredArguments:
    """The arguments of a stored task, which are unpickled when they are read.

    :param envelope: the stored arguments, after the alias of the backend. Its signature was verified, or that of the value
        it was in.
    """

    def __init__(self, envelope: bytes) -> None:
        self._envelope = envelope

    @functools.cached_property
    def args(self) -> list[Any]:
        """The positional arguments."""
        return list(self._both[0][1:])

    @functools.cached_property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self._both[1]

    @functools.cached_property
    def _both(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return payload.load_enclosed(self._envelope)


class AutotaskResult(AnyResult):
    """A task as its caller sees it. Its arguments and its value may be all that can be pickled.

    The arguments are unpickled when they are read: code that only looks at the status need not have their classes.
    """

    __slots__ = ("_args", "_kwargs", "_metadata")

    def __post_init__(self) -> None:
        """Leave the arguments as they are; the base class would convert them to JSON."""
        object.__setattr__(self, "_metadata", {})

    @property
    def metadata(self) -> dict[str, Any]:
        """Facts beyond Django's attributes: ``state``, ``failures``, ``lost`` and ``progress``; {} at first."""
        found: dict[str, Any] = getattr(self, "_metadata")  # noqa: B009 - the types do not have this attribute
        return found

    def refresh(self) -> None:
        """Look up the task again."""
        self._take(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """Like :meth:`refresh`, from a coroutine."""
        self._take(await self.task.get_backend().aget_result(self.id))

    def _take(self, fresh: AnyResult) -> None:
        for name in (*TASK_REFRESH_ATTRS, "_metadata"):
            object.__setattr__(self, name, getattr(fresh, name))


def _attribute(name: str) -> property:
    """Return a property for a field of the dataclass that may be loaded later."""

    def get(self: AutotaskResult) -> Any:
        value = getattr(self, f"_{name}")
        return getattr(value, name) if isinstance(value, StoredArguments) else value

    def keep(self: AutotaskResult, value: Any) -> None:
        object.__setattr__(self, f"_{name}", value)

    return property(get, keep)


# A dataclass sets and reads its fields like any attribute, even if they are properties.
AutotaskResult.args = _attribute("args")  # type: ignore[assignment]
AutotaskResult.kwargs = _attribute("kwargs")  # type: ignore[assignment]


def new(task: AnyTask, id: uuid.UUID, alias: str, args: Any, kwargs: Any) -> AutotaskResult:
    """Return the result of a task that has just been enqueued."""
    return AutotaskResult(
        task=task,
        id=str(id),
        status=TaskResultStatus.READY,
        enqueued_at=_shown(enqueued_at(id)),
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=alias,
        errors=[],
        worker_ids=[],
    )


def running(
    task: AnyTask, claimed: ClaimedTask, alias: str, args: Any, kwargs: Any, past: History | None
) -> AutotaskResult:
    """Return the result of a task whose function is about to be called.

    :param past: its earlier attempts, if there are any.
    """
    now = timezone.now()
    earlier = past.attempts if past else ()
    begun = [attempt.started_at for attempt in earlier if attempt.started_at]
    return _made(
        new(varied(task, queue_name=claimed.queue, priority=claimed.priority), claimed.id, alias, args, kwargs),
        status=TaskResultStatus.RUNNING,
        started_at=_shown(begun[0]) if begun else now,
        last_attempted_at=now,
        errors=[_error(attempt) for attempt in earlier],
        worker_ids=[*_workers(earlier), str(claimed.worker_id)],
    )


def kept(history: History) -> Kept | None:
    """Return the value and the arguments of a task; None if it is DONE and not a task of Django.

    :raises PayloadRefused: they were altered.
    """
    record = history.task
    if record.state is not State.DONE:
        if history.payload is None:
            return None
        payload.verify_arguments(history.payload, id=record.id, name=record.name)
        return Kept(None, record.name, history.payload)
    match payload.load_result(record.value, id=record.id, fence=record.fence or 0):
        case (value, record.name as name, bytes(arguments)):
            return Kept(value, name, arguments)
    return None


def stored(task: AnyTask, history: History, alias: str, kept: Kept) -> AutotaskResult:
    """Return the result of a task as it is in the database.

    :param task: the task at its module path.
    """
    record, attempts = history.task, history.attempts
    arguments = StoredArguments(kept.arguments)
    found = new(_as_enqueued(task, record, alias), record.id, alias, (), {})
    # The attempts are those that did not succeed: without the one that is running, or that succeeded.
    another = record.state is State.DONE or record.state is State.RUNNING
    begun = [attempt.started_at for attempt in attempts if attempt.started_at]
    last = record.started_at if another else max(begun, default=None)
    _made(
        found,
        args=arguments,
        kwargs=arguments,
        status=_STATUS[record.state],
        started_at=_shown(begun[0] if begun else last),
        last_attempted_at=_shown(last),
        finished_at=_shown(record.ended_at),
        errors=_errors(record, attempts),
        worker_ids=[*_workers(attempts), *([str(record.worker_id)] if another else [])],
        _return_value=kept.value,
        _metadata=_metadata(record),
    )
    return found


def ended(result: AutotaskResult, error: TaskError | None) -> AutotaskResult:
    """Finish a running result, with an error or successfully, and return it."""
    status = TaskResultStatus.FAILED if error else TaskResultStatus.SUCCESSFUL
    if error is not None:
        _made(result, errors=[*result.errors, error], _return_value=None)
    return _made(result, status=status, finished_at=timezone.now())


def keep_value(result: AutotaskResult, value: Any) -> None:
    """Set the value that the function has returned."""
    _made(result, _return_value=value)


def error_of(exception: BaseException | None, message: str) -> TaskError:
    """Return Django's error for an exception; without one, the task was cancelled."""
    if exception is None:
        return _cancelled(message)
    return TaskError(
        exception_class_path=_path(type(exception)), traceback="".join(traceback.format_exception(exception))
    )


def _made(result: AutotaskResult, **values: Any) -> AutotaskResult:
    for name, value in values.items():
        object.__setattr__(result, name, value)
    return result


def _as_enqueued(task: AnyTask, record: StoredTask, alias: str) -> AnyTask:
    later = record.run_at - record.created_at > _SAME_MOMENT
    return varied(
        task,
        backend=alias,
        queue_name=record.queue,
        priority=record.priority,
        run_after=_shown(record.run_at) if later else None,
    )


def _errors(record: StoredTask, attempts: tuple[StoredAttempt, ...]) -> list[TaskError]:
    errors = [_error(attempt) for attempt in attempts]
    if record.state is State.CANCELLED and not (attempts and attempts[-1].state is State.CANCELLED):
        return [*errors, _cancelled(record.error_message)]
    if record.state is State.ERROR and attempts and attempts[-1].state is State.LOST:
        return [*errors[:-1], TaskError(exception_class_path=_path(WorkerLost), traceback=record.error_message)]
    return errors


def _error(attempt: StoredAttempt) -> TaskError:
    path = attempt.error_type or _path(WorkerLost if attempt.state is State.LOST else TaskCancelled)
    return TaskError(exception_class_path=path, traceback=attempt.traceback or attempt.error_message)


def _cancelled(message: str) -> TaskError:
    return TaskError(exception_class_path=_path(TaskCancelled), traceback=message or "cancelled before it ran")


def _workers(attempts: tuple[StoredAttempt, ...]) -> list[str]:
    return [str(attempt.worker_id) for attempt in attempts if attempt.worker_id]


def _metadata(record: StoredTask) -> dict[str, Any]:
    return {
        "state": record.state.name.lower(),
        "failures": record.failures,
        "lost": record.lost,
        "progress": None if record.progress is None else str(record.progress),
    }


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _shown(moment: datetime | None) -> datetime | None:
    """Return a moment as Django shows it: with USE_TZ = False, in local time and without a zone."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
