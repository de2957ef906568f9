"""The core that the classes of tasks share: options as attributes, registration when the class is made, and hooks."""

import difflib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from autotask import decorating
from autotask.class_tasks.definition import ClassTask, function_of
from autotask.context import TaskContext
from autotask.exceptions import UnsuitableFunction
from autotask.flow.debounce import Debounce
from autotask.flow.keys import Key
from autotask.flow.limits import Limit
from autotask.flow.options import OnConflict, UniqueFor, WhenFull
from autotask.flow.rates import Rate
from autotask.on_end import Webhook
from autotask.options import DEFINITION_OPTION_NAMES, Exceptions
from autotask.retry import Backoff
from autotask.values import Seconds

logger = logging.getLogger("autotask")

#: An attribute this similar to an option, from 0 to 1, is taken for a slip: "retires" and "retries" are 0.86.
_LIKENESS = 0.85

#: Options are mostly such values; methods and properties are no slips.
_VALUES = (bool, int, float, str, list, tuple, dict)


class OptionAttributes:
    """The options of a task as attributes of its class, for type checkers. Without a value, the default counts."""

    name: ClassVar[str]
    delay: ClassVar[Seconds]
    queue: ClassVar[str]
    priority: ClassVar[int]
    retries: ClassVar[int]
    backoff: ClassVar[Backoff | Sequence[Seconds] | None]
    retry_on: ClassVar[Exceptions | None]
    no_retry_on: ClassVar[Exceptions]
    ttl: ClassVar[Seconds]
    expires: ClassVar[Seconds | datetime | None]
    takes_context: ClassVar[bool]
    atomic: ClassVar[bool]
    at_most_once: ClassVar[bool]
    on_missing: ClassVar[Literal["error", "discard", "retry"]]
    timeout: ClassVar[Seconds | None]
    executor: ClassVar[str | None]
    tags: ClassVar[Sequence[str]]
    unique: ClassVar[Literal[False] | Key]
    unique_for: ClassVar[UniqueFor | Seconds]
    on_conflict: ClassVar[OnConflict]
    concurrency: ClassVar[int | str | Limit]
    when_full: ClassVar[WhenFull]
    rate: ClassVar[str | Rate]
    debounce: ClassVar[Literal[False] | Debounce | Seconds]
    throttle: ClassVar[Literal[False] | Rate | str]
    json_schema: ClassVar[Mapping[str, Any]]
    api: ClassVar[bool]
    email: ClassVar[str | Sequence[str]]
    on_end: ClassVar[Webhook | Sequence[Webhook]]


class TaskClass(OptionAttributes):
    """The core of :class:`~autotask.class_tasks.BaseTask` and :class:`~autotask.class_tasks.AsyncTask`.

    :ivar context: the :class:`~autotask.context.TaskContext` of the attempt.
    :ivar arguments: those of the call, by the names of the parameters.
    """

    #: Whether a class is only a base of others. Each class says so for itself; a class without the method is one, too.
    abstract: ClassVar[bool] = True

    #: The name of the method that runs.
    _body: ClassVar[str]

    #: The class of the definitions.
    _definition_class: ClassVar[type[ClassTask[..., Any]]] = ClassTask

    #: The definition that was made of the class.
    definition: ClassVar[ClassTask[..., Any]]

    context: TaskContext
    arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the task, unless the class is abstract.

        :raises AutotaskError: an option or the method is not suitable.
        """
        super().__init_subclass__(**kwargs)
        if not cls.__dict__.get("abstract", False) and hasattr(cls, cls._body):
            where = f"the class {decorating.described(cls)}"
            options = decorating.checked(cls._options(where), ("name",), where)
            make: Callable[..., ClassTask[..., Any]] = functools.partial(cls._definition_class, cls)
            function = function_of(cls, options, where)
            # Not that of a base: it would be another task of the same name.
            cls.definition = decorating.define(make, function, cls.__dict__.get("name"), options, where)
            cls._warn_of_misspelt_options(where)

    @classmethod
    def _options(cls, where: str) -> dict[str, Any]:
        """Return the options that the class and its bases have as attributes.

        :param where: the class, for messages.
        """
        return {name: value for name in DEFINITION_OPTION_NAMES if (value := getattr(cls, name, None)) is not None}

    @classmethod
    def _warn_of_misspelt_options(cls, where: str) -> None:
        """Log a warning for attributes that are nearly options: classes can have any others, so these are no errors."""
        for name, value in vars(cls).items():
            if name.startswith("_") or name in DEFINITION_OPTION_NAMES or not isinstance(value, _VALUES):
                continue
            if close := difflib.get_close_matches(name, DEFINITION_OPTION_NAMES, 1, _LIKENESS):
                text = "The attribute %r of %s is no option of tasks. Did you mean %r? If not, begin its name with _."
                logger.warning(text, name, where, close[0])

    @classmethod
    def _overrides(cls, hook: str) -> bool:
        """Whether the class, or a base of the project, has a hook of its own."""
        has_it = next(base for base in cls.__mro__ if hook in vars(base))
        return not has_it.__module__.startswith(f"{__package__}.")

    @classmethod
    def _own_definition(cls) -> ClassTask[..., Any]:
        """Return the definition that was made of this class.

        :raises UnsuitableFunction: it is abstract.
        """
        definition = cls.__dict__.get("definition")
        if not isinstance(definition, ClassTask):
            raise UnsuitableFunction(
                function=f"The class {decorating.described(cls)}",
                problem="it is abstract",
                advice=f"Use a class that has {cls._body}(), and not abstract = True.",
            )
        return definition

    # --- hooks --------------------------------------------------------------------------------------------------------

    def before_start(self) -> Any:
        """Called in each attempt before the method, as a part of the attempt: an exception fails it."""

    def on_success(self, result: Any) -> Any:
        """Called in the worker when the method has returned, before that is recorded; with ``atomic``, after that.

        Exceptions are logged only.
        """

    def on_failure(self, error: BaseException | None) -> Any:
        """Called in the worker when the task ends in ERROR, before that is recorded. Exceptions are logged only.

        :param error: None if the reason is none that Python raised here.
        """

    def on_retry(self, error: BaseException | None) -> Any:
        """Called in the worker when an attempt has failed and another one will follow. Exceptions are logged only."""
