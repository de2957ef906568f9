"""BaseTask: a class with run(), enqueued as a decorated function is called."""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar, Unpack, overload

from autotask.class_tasks.core import TaskClass
from autotask.class_tasks.definition import ClassTask
from autotask.delayed import DelayedTask
from autotask.handle import TaskHandle
from autotask.options import CALL_OPTION_NAMES, CallOptions

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class _Runs(Protocol[P, R_co]):
    def run(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class _RunsAsync(Protocol[P, R_co]):
    def run(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]: ...


class BaseTask(TaskClass):
    """The base of tasks that are classes.

    ::

        class MakeReport(BaseTask):
            retries = 3
            def run(self, year):
                return f"/srv/reports/{year}.txt"

        handle = MakeReport.enqueue(2026)

    The options of :func:`autotask.tasks.delayed_task` are attributes, which classes inherit. ``name`` is not inherited; by
    default it is ``module.Class``. The class is registered when it is made, unless it has no ``run()``, or has
    ``abstract = True`` in its own body. ``run()`` may be a coroutine function. Each attempt has an instance of its own.
    """

    _body: ClassVar[str] = "run"

    @overload
    @classmethod
    def enqueue(cls: type[_RunsAsync[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    @classmethod
    def enqueue(cls: type[_Runs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload  # Type checkers cannot add the options of a call to the parameters; for this one, they need not be given.
    @classmethod
    def enqueue(cls, /, *args: Any, email: str | Sequence[str], **kwargs: Any) -> TaskHandle[Any]: ...
    @classmethod
    def enqueue(cls, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Store a call for a worker to run, and return the handle of its task; see :meth:`~autotask.definition.Definition.enqueue`.

        :param kwargs: the arguments of ``run()``, and options of ``using()`` that are not among its parameters.
        """
        return _for_call(cls._own_definition(), kwargs).enqueue(*args, **kwargs)

    @overload
    @classmethod
    async def aenqueue(cls: type[_RunsAsync[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    @classmethod
    async def aenqueue(cls: type[_Runs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @classmethod
    async def aenqueue(cls, /, *args: Any, **kwargs: Any) -> TaskHandle[Any]:
        """Like :meth:`enqueue`, from a coroutine."""
        return await _for_call(cls._own_definition(), kwargs).aenqueue(*args, **kwargs)

    @overload
    @classmethod
    def enqueue_many(
        cls: type[_RunsAsync[P, R]], items: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> list[TaskHandle[R]]: ...
    @overload
    @classmethod
    def enqueue_many(
        cls: type[_Runs[P, R]], items: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> list[TaskHandle[R]]: ...
    @classmethod
    def enqueue_many(cls, items: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[TaskHandle[Any]]:
        """Store several calls with one statement: all of them or none; see :meth:`~autotask.definition.Definition.enqueue_many`."""
        return cls._own_definition().enqueue_many(items)

    @overload
    @classmethod
    def using(cls: type[_RunsAsync[P, R]], **options: Unpack[CallOptions]) -> DelayedTask[P, R]: ...
    @overload
    @classmethod
    def using(cls: type[_Runs[P, R]], **options: Unpack[CallOptions]) -> DelayedTask[P, R]: ...
    @classmethod
    def using(cls, **options: Unpack[CallOptions]) -> DelayedTask[..., Any]:
        """Return the task with other options for the calls made through it; see :meth:`~autotask.definition.Definition.using`."""
        return cls._own_definition().using(**options)

    @overload
    @classmethod
    def call(cls: type[_RunsAsync[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    @classmethod
    def call(cls: type[_Runs[P, R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @classmethod
    def call(cls, /, *args: Any, **kwargs: Any) -> Any:
        """Run ``before_start()`` and ``run()`` of a fresh instance here and now, and return the value; nothing is stored."""
        return cls._own_definition().call(*args, **kwargs)

    @overload
    def __call__(self: _RunsAsync[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    @overload
    def __call__(self: _Runs[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Store a call, as calling a decorated function does. The instance has no part in it: attempts have their own."""
        return self._own_definition()(*args, **kwargs)


def _for_call(definition: ClassTask[..., Any], kwargs: dict[str, Any]) -> DelayedTask[..., Any]:
    """Return the task with the options of one call, which are taken out of its arguments."""
    parameters = definition.signature.parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return definition
    options = {name: kwargs.pop(name) for name in CALL_OPTION_NAMES if name in kwargs and name not in parameters}
    return definition.using(**options) if options else definition
