"""The backend for Django's ``TASKS``: checks tasks, stores calls, looks up results."""

import difflib
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error

from autotask import registry
from autotask.backend import definition, result as results
from autotask.backend.definition import SERIALIZER, DjangoTask
from autotask.backend.task import AutotaskTask, varied
from autotask.conf import settings
from autotask.django_tasks import (
    AnyTask,
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)
from autotask.exceptions import AutotaskError, UnsuitableFunction
from autotask.handle import TaskHandle
from autotask.options import DJANGO_TASK_OPTION_NAMES, Options, check_value
from autotask.values import PLAIN_NAME

#: The attribute of a task with its definition, and the options of the backend that it was made with.
_MADE = "_autotask_definition"


class AutotaskBackend(BaseTaskBackend):
    """Runs the tasks of Django on the workers and companions of autotask.

    ``OPTIONS`` are ``SERIALIZER`` ("json": arguments and values must be JSON, as with Django's own backends; "pickle", the
    default: all that can be pickled), and defaults for the options of tasks, in capitals, such as ``RETRIES``, ``TIMEOUT``
    and ``TTL``.
    """

    task_class = AutotaskTask
    #: For ``OPTIONS`` without ``SERIALIZER``.
    default_serializer = "pickle"
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def validate_task(self, task: AnyTask) -> None:
        """Refuse a task that cannot run.

        :raises InvalidTask: it cannot; the message says why.
        """
        deferred = isinstance(task.run_after, timedelta)
        super().validate_task(varied(task, run_after=None) if deferred else task)
        limit = self._definition(task).options.concurrency
        if limit is not None:
            registry.limits_of_others.add((task.module_path, limit))

    def enqueue(self, task: AnyTask, args: Any, kwargs: Any) -> Any:
        """Store a call, send Django's ``task_enqueued``, and return an :class:`~autotask.backend.result.AutotaskResult`.

        The task exists if and only if the caller's transaction commits. If a task of another call stands for this one, its
        result is returned, and no signal sent. With ``AUTOTASK_IMMEDIATE``, it is that of a task that has run.

        :raises InvalidTask: the backend does not accept the task, or a worker could not find it.
        :raises TypeError: the arguments do not fit the function, or cannot be stored.
        :raises PayloadTooLarge: the arguments take more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
        :raises AlreadyEnqueued: it is unique with ``on_conflict="raise"``, and there is a task already.
        """
        self.validate_task(task)
        found = definition.at(task.module_path)
        if found is None or found.func is not task.func:
            raise InvalidTask(
                f"A worker could not find this task: {task.module_path} is not a task with this function. "
                "Decorate the function where it is defined."
            )
        try:
            self._definition(task).refuse_unreachable()
        except UnsuitableFunction as error:
            raise InvalidTask(str(error)) from error
        if self.is_strict:
            args, kwargs = normalize_json(args), normalize_json(kwargs)
        handle = self._stored(task, args, kwargs)
        result = results.new(task, handle.id, self.alias, args, kwargs)
        if handle.created is False or settings.IMMEDIATE:  # The task of another call, or one that has run already.
            return definition.look_up(handle.id, self.alias) or result
        return result

    def _stored(self, task: AnyTask, args: Any, kwargs: Any) -> TaskHandle[Any]:
        """Store a call, and send Django's signal: before the task runs, with ``AUTOTASK_IMMEDIATE``."""
        told: list[uuid.UUID] = []

        def tell(id: uuid.UUID) -> None:
            told.append(id)
            result = results.new(task, id, self.alias, args, kwargs)
            task_enqueued.send_robust(sender=type(self), task_result=result)

        store = self._definition(task).store_through
        handle = store(self.alias, tuple(args), dict(kwargs), tell if settings.IMMEDIATE else None)
        if handle.created is not False and not told:
            tell(handle.id)
        return handle

    def get_result(self, result_id: str) -> Any:
        """Return the :class:`~autotask.backend.result.AutotaskResult` of a task.

        :raises TaskResultDoesNotExist: it is not in the database, or not a task of Django.
        :raises PayloadRefused: its stored arguments or value were altered.
        """
        try:
            id = uuid.UUID(result_id)
        except (ValueError, TypeError, AttributeError):
            raise TaskResultDoesNotExist(result_id) from None
        if (result := definition.look_up(id, self.alias)) is None:
            raise TaskResultDoesNotExist(result_id)
        return result

    @property
    def is_strict(self) -> bool:
        """Whether arguments and values must be JSON."""
        return bool(self.options.get(definition.SERIALIZER, self.default_serializer) == "json")

    def check(self, **_: Any) -> list[CheckMessage]:
        """Return the problems of the entry in TASKS."""
        return list(self._problems())

    def _problems(self) -> Iterator[CheckMessage]:
        if not apps.is_installed("autotask"):
            yield Error(
                f"TASKS[{self.alias!r}] is a backend of autotask, which is not in INSTALLED_APPS.",
                hint='Add "autotask" to INSTALLED_APPS, and run: python manage.py migrate',
                id="autotask.E009",
            )
        for problem in self._wrong_options():
            yield Error(f"TASKS[{self.alias!r}]: {problem}", id="autotask.E010")
        for queue in sorted(map(str, self.queues)):
            if not PLAIN_NAME.fullmatch(queue):
                yield Error(
                    f"TASKS[{self.alias!r}]: {queue!r} cannot be the name of a queue.",
                    hint="Names of queues are 1 to 200 letters, digits and _ . : < > -",
                    id="autotask.E011",
                )

    def _wrong_options(self) -> Iterator[str]:
        known = [SERIALIZER, *(name.upper() for name in DJANGO_TASK_OPTION_NAMES)]
        where, fit = f"TASKS[{self.alias!r}]", dict[str, Any]()
        for name, value in self.options.items():
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                yield f"the option {name} is not known{f' (did you mean {close[0]}?)' if close else ''}."
            elif name == SERIALIZER:
                if value not in ("json", "pickle"):
                    yield f'the option {name} must be "json" or "pickle", but is {value!r}.'
            else:
                option = name.lower()
                try:
                    check_value(option, value, where)
                except AutotaskError as error:
                    yield f"the option {name} is wrong: {error}"
                else:
                    fit[option] = value
        try:
            Options.of(where, **fit)
        except AutotaskError as error:
            yield f"the options do not go together: {error}"

    def _definition(self, task: AnyTask) -> DjangoTask:
        # Kept with the task, so that calls do not check its options again. Other classes of tasks may have no room for it.
        made, options = getattr(task, _MADE, (None, None))
        if made is None or options != self.options:
            try:
                made = DjangoTask(task)
            except AutotaskError as error:
                raise InvalidTask(str(error)) from error
            if isinstance(task, AutotaskTask):
                object.__setattr__(task, _MADE, (made, self.options))
        return made
