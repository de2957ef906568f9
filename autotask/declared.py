"""A task function with its options, which every decorator makes, and what workers need of it."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, ParamSpec, Self, TypeVar

from autotask import addresses, display, hints, payload
from autotask.context import TaskContext
from autotask.flow import options as flow_options
from autotask.flow.keys import refuse_unfit_function, refuse_unknown_names
from autotask.functions import SCRIPTS, is_coroutine_function, refuse_method
from autotask.options import CALL_OPTION_NAMES, Options
from autotask.parameters import Parameters
from autotask.task import COROUTINE, THREAD, ClaimedTask, State

P = ParamSpec("P")
R = TypeVar("R")


class Declared(Generic[P, R]):
    """A task function with its options; see :class:`autotask.definition.Definition`.

    :ivar is_async: whether the function is a coroutine function.
    :ivar is_of_script: whether it is defined in the running script, which workers cannot import.
    """

    #: Whether it was made after Django had started: not all processes import its module.
    is_late = False

    #: The word for :attr:`key_names`.
    key_words = "parameters of the function"

    def __init__(self, function: Callable[P, Any], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.is_async = is_coroutine_function(function)
        self.is_of_script = function.__module__ in SCRIPTS
        self.executor = _stored_executor(options, self.is_async)
        for option, key in flow_options.keys(options).items():
            if key is not None:
                refuse_unknown_names(key, option, self.key_names, self.key_words, name)
                refuse_unfit_function(key, option, self.signature, name)
        for option, rate in (("rate", options.rate), ("throttle", options.throttle)):
            if rate is not None:
                refuse_unfit_function(rate.cost, option, self.signature, name)
        addresses.refuse_invalid(options.email or (), name)
        # Its attributes are not copied: they could overwrite those above.
        functools.update_wrapper(self, function, updated=())  # type: ignore[arg-type]  # only DelayedTask can be called

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __set_name__(self, owner: type, name: str) -> None:
        refuse_method(self.function, owner)

    @property
    def is_hidden(self) -> bool:
        """Whether workers do not know it, and its name does not lead them to its module."""
        return self.is_late and not self.name.startswith(f"{self.function.__module__}.")

    @functools.cached_property
    def is_direct(self) -> bool:
        """Whether a worker calls just the function with the stored arguments, in a thread and outside a transaction."""
        is_own = type(self).for_attempt is Declared.for_attempt
        return is_own and not self.is_async and not self.options.atomic

    @functools.cached_property
    def hears_ends(self) -> bool:
        """Whether workers have to call :meth:`attempt_ended`: this kind of task overrides it."""
        return type(self).attempt_ended is not Declared.attempt_ended

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the function, without its context."""
        signature = inspect.signature(self.function)
        if not self.options.takes_context:
            return signature
        first, *others = signature.parameters.values()
        return signature if first.kind is first.VAR_POSITIONAL else signature.replace(parameters=others)

    @functools.cached_property
    def parameters(self) -> Parameters:
        """The parameters of the function, without its context."""
        return Parameters(self.signature)

    @functools.cached_property
    def by_position(self) -> display.Positional:
        """The function that shows those arguments of its calls that are given by position."""
        return display.Positional(self.parameters.positional[0])

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the object that describes a call: its ``json_schema``, or one made of its type hints."""
        given = self.options.json_schema
        return hints.schema(self.signature, self.function) if given is None else given.document

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by the names of their parameters, including defaults.

        :raises TypeError: they do not fit the function.
        """
        return self.parameters.bound(args, kwargs)

    def with_context(self, context: TaskContext) -> Callable[..., Any]:
        """Return the function, with the context as its first argument if it takes one."""
        function: Callable[..., Any] = self.function
        return functools.partial(function, context) if self.options.takes_context else function

    def accepts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether stored arguments fit the function."""
        args, kwargs = self.as_called(args, kwargs)
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def shown(self, arguments: payload.Arguments) -> str:
        """Return stored arguments as text, with secrets masked.

        :raises TypeError: they do not fit the function.
        """
        return self._shown(*self.as_called(*arguments))

    # --- overridden by kinds of task that run differently -----------------------------------------------------------

    @classmethod
    def find(cls, task: ClaimedTask) -> Self | None:
        """Return the definition of a claimed task of this kind that no decorator has registered; None if there is none."""
        return None

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return the callable that a worker calls with the stored arguments of a task."""
        return self.with_context(context)

    def log_key(self, task: ClaimedTask) -> str | None:
        """Return the key by which people know a task, for its log file; None: only its id."""
        return None

    def attempt_ended(self, task: ClaimedTask, state: State, message: str, error: BaseException | None) -> None:
        """Called in the worker when an attempt has ended."""

    def as_called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return stored arguments as the caller gave them."""
        return args, kwargs

    @property
    def key_names(self) -> Collection[str]:
        """The names that keys can be made of."""
        return self.signature.parameters

    def for_keys(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call by their names, and all others that keys can be made of."""
        return self.bound(args, kwargs)

    # ----------------------------------------------------------------------------------------------------------------

    def _shown(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the arguments as text, if they fit the function."""
        names, needed = self.parameters.positional
        if not kwargs and needed <= len(args) <= len(names):
            return self.by_position.shown(args)  # the same as after binding, ten times as fast
        try:
            return display.arguments(self.signature.bind(*args, **kwargs))
        except TypeError as error:
            advice = _how_to_give_options(set(kwargs) - set(self.signature.parameters), self.name)
            raise TypeError(f"{self.name}{self.signature}: {error}. Nothing was enqueued.{advice}") from None


def _how_to_give_options(unexpected: Collection[str], name: str) -> str:
    """Return advice for options among the arguments, with a space before it; "" if there are none."""
    option = next((each for each in CALL_OPTION_NAMES if each in unexpected), None)
    return "" if option is None else f" Options of a call have their own place: {name}.using({option}=…)(…)."


def _stored_executor(options: Options, is_async: bool) -> str:
    if options.executor is None:
        return COROUTINE if is_async else THREAD
    return THREAD if options.executor == "thread" else options.executor
