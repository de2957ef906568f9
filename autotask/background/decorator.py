"""The decorator that makes a background worker of a function."""

from collections.abc import Callable
from typing import Any, overload

from autotask.background.kinds import CLASSES
from autotask.background.options import Kind, kind_of, refuse_queue_class
from autotask.background.workers import BackgroundWorker
from autotask.decorating import described
from autotask.exceptions import InvalidOption
from autotask.functions import is_coroutine_function

#: The words that say what makes it run, and are no options of a worker.
_KIND_WORDS = ("q", "e", "event")


@overload
def background_worker(function: Callable[..., Any], /) -> Any: ...
@overload
def background_worker(**options: Any) -> Callable[[Callable[..., Any]], Any]: ...
def background_worker(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a background worker of a function: the workers of the site keep it running.

    ::

        @background_worker(interval=5)
        def refresh(**kwargs): ...

        @background_worker(queue=True)
        def send(mail, **kwargs): ...

    :param options: ``q=True`` or ``queue=True`` makes a :class:`BackgroundQueueWorker`, ``e=True`` or ``event=True`` a
        :class:`BackgroundEventWorker`, ``interval``, ``delay`` or ``delay_before`` a :class:`BackgroundIntervalWorker`; a
        coroutine function without these a :class:`BackgroundAsyncWorker`, any other a :class:`BackgroundWorker`. The other
        options, such as ``name``, ``per``, ``autostart`` and ``on_error``, are those of that class.
    :raises ConflictingOptions: the options ask for several kinds.
    :raises UnknownOption: an option is not known.
    :raises InvalidOption: a value is out of its range.
    :raises InvalidOptionType: a value has the wrong type.
    :raises UnsuitableFunction: calling the function would run nothing of it.
    """
    if function is not None:
        return _make(function, options)
    return lambda called: _make(called, options)


def _make(function: Any, options: dict[str, Any]) -> BackgroundWorker:
    where = f"@background_worker of {described(function)}"
    if not callable(function) or isinstance(function, type):
        raise InvalidOption(option="function", where=where, expected="a function", value=function)
    kind = kind_of(options, is_coroutine_function(function), where)
    given = {name: value for name, value in options.items() if name not in _KIND_WORDS}
    for word in ("q", "queue"):
        value = options.get(word)
        if value is not None and not (word == "queue" and isinstance(value, str)):
            refuse_queue_class(value, word, where)
            given.pop(word, None)
    if kind is Kind.INTERVAL:
        given = {name: value for name, value in given.items() if value is not None}
    return CLASSES[kind](func=function, **given)
