"""AsyncTask: a class with main(), of which there is one task for each id."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.utils.module_loading import import_string

from autotask.class_tasks.core import TaskClass
from autotask.class_tasks.definition import ClassTask
from autotask.class_tasks.once import OnceTask
from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType
from autotask.flow.limits import Limit
from autotask.handle import TaskHandle
from autotask.options import Options
from autotask.task import DONE, LONGEST_TIME
from autotask.task_log import logger_of
from autotask.values import Seconds, seconds

#: The name of an option in AsyncTask, and in all other tasks.
_OWN_NAMES = {"task_timeout": "timeout", "max_worker": "concurrency"}

#: Options that decide otherwise which calls make tasks.
_EXCLUDED = ("unique", "debounce", "throttle")


class AsyncTask(TaskClass):
    """The base of tasks that are known by an id of yours: there is one task for each id, ever.

    ::

        class Forecast(AsyncTask):
            rerun_time_limit = timedelta(days=1)

            def get_task_id(self, city, day):
                return f"{city}-{day}"

            def main(self, city, day, logger):
                logger.info("start")
                return {"t": 21}

        task_id = Forecast.run(city="Oslo", day="2026-11-28")
        Forecast.retrieve(task_id)

    The options of :func:`autotask.tasks.delayed_task` are attributes, except ``unique``, ``debounce`` and ``throttle``.
    ``main()`` may be a coroutine function. If it has a parameter ``logger``, that is not one of the calls: it gets the
    logger of the task. ``ttl`` is a century by default, and never less than ``rerun_time_limit``.
    """

    abstract = True

    _body: ClassVar[str] = "main"
    _definition_class: ClassVar[type[ClassTask[..., Any]]] = OnceTask

    #: Seconds (or timedelta) that an attempt may take; other tasks call it ``timeout``. None: ``AUTOTASK_TIMEOUT``.
    task_timeout: ClassVar[Seconds | None] = timedelta(hours=4)

    #: Seconds (or timedelta) after the end from which a call runs a task again that is done; None: never.
    rerun_time_limit: ClassVar[Seconds | None] = None

    #: The most tasks of the class that run at a time, over all workers; other tasks call it ``concurrency``.
    max_worker: ClassVar[int | str | Limit | None] = None

    ttl: ClassVar[Seconds] = LONGEST_TIME

    def get_task_id(self, *args: Any, **kwargs: Any) -> str:
        """Return the id of the task of a call: 1 to 200 printable characters.

        By default it is a new one of 32 hexadecimal digits, so that each call makes a task. The parameters are those of
        ``main()``, without ``logger``.
        """
        raise NotImplementedError

    def callback(self, future: "Future[Any]", task_id: str) -> Any:
        """Called in the worker when the task has ended, before that is recorded. Exceptions are logged only.

        :param future: a finished one, with the value or the exception.
        """

    @classmethod
    def run(cls, /, task_id: str = "", **arguments: Any) -> str:
        """Make the task of a call run, unless it is live or has a result that counts, and return its id.

        It runs if there is no task with that id, if that has ended without success, or if it is done for longer than
        ``rerun_time_limit``. No task runs twice at the same time.

        :param task_id: the id of a task that is known: it runs by the same rule, with the arguments that it had. Others
            do not count.
        :param arguments: those of ``main()``, by name.
        :raises UnknownTask: there is no task with that id.
        :raises SchemaMismatch: the arguments do not fit ``main()``, or the ``json_schema``. (A TypeError.)
        :raises UnsuitableTaskId: ``get_task_id()`` has returned something else. (A TypeError.)
        :raises AutotaskError: as for :meth:`autotask.definition.Definition.enqueue`.
        """
        definition = cls._once()
        return definition.run_again(task_id) if task_id else definition.run(arguments)

    @classmethod
    async def arun(cls, /, task_id: str = "", **arguments: Any) -> str:
        """Like :meth:`run`, from a coroutine."""
        return await sync_to_async(cls.run)(task_id, **arguments)

    @classmethod
    def retrieve(cls, task_id: str) -> dict[str, Any] | None:
        """Return the state of a task: ``status``, and ``result`` or ``error``; None if there is none with that id.

        ``status`` is "running" until the task has ended, "success" or "failed".
        """
        if (handle := cls.get_handle(task_id)) is None:
            return None
        if not handle.ready:
            return {"status": "running"}
        if handle.status is DONE:
            return {"status": "success", "result": handle.result}
        return {"status": "failed", "error": handle.error_message or "cancelled"}

    @classmethod
    async def aretrieve(cls, task_id: str) -> dict[str, Any] | None:
        """Like :meth:`retrieve`, from a coroutine."""
        return await sync_to_async(cls.retrieve)(task_id)

    @classmethod
    def get_handle(cls, task_id: str) -> TaskHandle[Any] | None:
        """Return the handle of a task; None if there is none with that id."""
        return cls._once().handle(task_id)

    @classmethod
    def get_logger(cls, task_id: str) -> logging.Logger:
        """Return the logger of a task, ``autotask.task.<id of the handle>``.

        :raises UnknownTask: there is no task with that id.
        """
        return logger_of(str(cls._once().known(task_id)))

    @classmethod
    def as_view(cls, *, public: bool = False) -> Callable[..., Any]:
        """Return a view that runs and shows tasks: ``path("api/forecast", Forecast.as_view())``.

        :param public: True: everybody may use it. Otherwise it takes a key of the HTTP API with the scopes ``submit`` and
            ``read`` for the name of the class, or a session of a user who may submit and view tasks.
        """
        # By its name: the HTTP API is above this module, and sites without it never import it.
        view: Callable[..., Any] = import_string("autotask.api.async_task.view")(cls, public=public)
        return view

    @classmethod
    def _once(cls) -> "OnceTask[..., Any]":
        definition = cls._own_definition()
        assert isinstance(definition, OnceTask)
        return definition

    @classmethod
    def _options(cls, where: str) -> dict[str, Any]:
        options = super()._options(where)
        for own, name in _OWN_NAMES.items():
            value = getattr(cls, own)
            if name in options and value is not vars(AsyncTask)[own]:
                raise ConflictingOptions(where=where, first=own, second=name)
            if name not in options and value is not None:
                options[name] = _checked(own, value, where)
        for name in _EXCLUDED:
            if options.get(name):
                raise ConflictingOptions(where=where, first="get_task_id", second=name)
        if cls.rerun_time_limit is not None:
            limit = seconds(cls.rerun_time_limit, "rerun_time_limit", where)
            options["ttl"] = max(limit, seconds(options["ttl"], "ttl", where))
        return options


def _checked(own: str, value: Any, where: str) -> Any:
    """Return the value of an option; if it is wrong, the error has the name that the option has here."""
    try:
        Options.of(where, **{_OWN_NAMES[own]: value})
    except (InvalidOption, InvalidOptionType) as error:
        raise type(error)(**{**error.facts, "option": own}) from None
    return value
