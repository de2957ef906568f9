"""The kinds of functions, and those that cannot be task functions because calling them runs nothing of them."""

import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from contextlib import ContextDecorator
from typing import Any

from autotask.exceptions import InvalidOption, UnsuitableFunction
from autotask.options import Options

#: The modules of the running script, also in a child of ``multiprocessing``. In a worker they are others.
SCRIPTS = ("__main__", "__mp_main__")

#: The code of wrappers made by decorators with a block, like ``@transaction.atomic``. It leaves the block as soon as the
#: function has returned: before a coroutine is awaited.
_BLOCK = ContextDecorator.__call__(ContextDecorator(), lambda: None).__code__


def refuse_unsuitable(function: Callable[..., Any], options: Options, where: str) -> None:
    """Refuse a function that cannot be a task, or not with these options.

    :param where: the decorator, for messages.
    :raises UnsuitableFunction: calling it would run nothing of it.
    :raises InvalidOption: an option does not suit it.
    """
    if _is_generator_function(function):
        raise UnsuitableFunction(
            function=where,
            problem="it is a generator function, and calling one runs nothing of it",
            advice="Return a list, or loop over the values inside the task.",
        )
    for wrapped in _inside_blocks(function):
        what = "coroutine" if is_coroutine_function(wrapped) else "generator"
        raise UnsuitableFunction(
            function=where,
            problem=f"it is a {what} function inside a decorator like @transaction.atomic, whose block ends before "
            "anything of it runs",
            advice="Remove the decorator, and open the block inside the function.",
        )
    if options.takes_context and not _takes_one(function):
        raise InvalidOption(
            option="takes_context", where=where, expected="False unless the first argument is the context", value=True
        )
    if options.atomic and is_coroutine_function(function):
        raise InvalidOption(
            option="atomic", where=where, expected="False: Django has no transactions in coroutines", value=True
        )


def refuse_method(function: Callable[..., Any], owner: type) -> None:
    """Refuse a function that is defined in the body of a class, unless it is a static method.

    :raises UnsuitableFunction: it is a method.
    """
    name = getattr(function, "__qualname__", "")
    is_of_owner = (function.__module__, name.rpartition(".")[0]) == (owner.__module__, owner.__qualname__)
    if is_of_owner and not isinstance(function, staticmethod):
        raise UnsuitableFunction(
            function=f"{function.__module__}.{name}",
            problem="it is a method, and a call would take its first argument for the instance",
            advice="Decorate a function of the module that takes the instance as an argument, or put @staticmethod "
            "above the decorator.",
        )


def refuse_script(function: Callable[..., Any]) -> None:
    """Refuse to enqueue a call of a function that is defined in the running script.

    :raises UnsuitableFunction: it is.
    """
    if function.__module__ in SCRIPTS:
        raise UnsuitableFunction(
            function=f"{function.__module__}.{getattr(function, '__qualname__', function)}",
            problem="it is defined in the script that is run, and a worker is another program, which does not know it",
            advice="Define it in a module, such as the tasks.py of an app, and import it from there. Nothing was enqueued.",
        )


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether calling it returns a coroutine, as far as its definition shows."""
    return any(map(inspect.iscoroutinefunction, _forms(function)))


def still_to_be_run(value: Any) -> str:
    """Return the kind of object that a function has returned without running; "" for a value. A coroutine is closed."""
    if isinstance(value, Coroutine):
        if inspect.iscoroutine(value) and inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
            value.close()  # else Python warns that it was never awaited
        return "a coroutine"
    if isinstance(value, Generator):
        return "a generator"
    return "an async generator" if isinstance(value, AsyncGenerator) else ""


def _is_generator_function(function: Callable[..., Any]) -> bool:
    return any(inspect.isgeneratorfunction(form) or inspect.isasyncgenfunction(form) for form in _forms(function))


def _forms(function: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """Return the functions that may show its kind: itself, without staticmethod, and ``__call__`` of an instance."""
    if isinstance(function, staticmethod):
        function = function.__func__
    return (function,) if inspect.isroutine(function) else (function, type(function).__call__)


def _inside_blocks(function: Any) -> Iterator[Callable[..., Any]]:
    """Yield the functions inside a decorator that leaves its block before they have run."""
    while (wrapped := getattr(function, "__wrapped__", None)) is not None:
        if getattr(function, "__code__", None) is _BLOCK and (
            is_coroutine_function(wrapped) or _is_generator_function(wrapped)
        ):
            yield wrapped
        function = wrapped


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind_partial(None)
    except TypeError:
        return False
    return True
