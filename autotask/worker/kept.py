"""Keep the objects of Django's connection handlers, such as caches, from task to task.

Tasks run in contexts of their own, so that neither language nor time zone reaches the next one. But handlers such as
``django.core.cache.caches`` keep their objects in the context too, and each object may hold connections of its own. A thread
that serves requests creates them once, and so does a thread that runs tasks.
"""

import contextvars
import logging
import sys
from typing import Any

from django.core.cache import close_caches
from django.utils.connection import BaseConnectionHandler

logger = logging.getLogger("autotask.worker")

#: The objects that handlers have made: handler, its storage, alias, object.
Made = list[tuple[Any, object, str, Any]]

#: The number of variables in the context of each attempt: the running task, and its traces.
_OWN = 2


class Kept:
    """The objects that one thread keeps. Only that thread calls it."""

    __slots__ = ("_base", "_made")

    def __init__(self) -> None:
        self._made: Made = []
        self._base = contextvars.Context()

    def context(self) -> contextvars.Context:
        """Return a context with the kept objects for one attempt."""
        return self._base.copy()

    def keep(self, context: contextvars.Context) -> None:
        """Keep the objects that handlers have made in the context of a finished attempt."""
        if len(context) <= _OWN and not self._made:
            return  # as nearly always
        found = context.run(made)
        if found != self._made:
            self._made, self._base = found, contextvars.Context()
            self._base.run(give, found)


def made() -> Made:
    """Return the objects of handlers in the current context, after closing caches as at the end of a request."""
    try:
        close_caches()
    except Exception:
        logger.exception("A cache that a task has used cannot be closed as at the end of a request")
    return [one for handler in _handlers.found() for one in _made_by(handler)]


def _made_by(handler: Any) -> Made:
    try:
        storage = handler._connections
        return [(handler, storage, alias, handler[alias]) for alias in handler if hasattr(storage, alias)]
    except Exception:
        return []  # Its settings are missing or wrong, so nobody has used it.


def give(kept: Made) -> None:
    """Put kept objects into the current context."""
    for handler, storage, alias, connection in kept:
        # A handler whose settings change, as in tests, gets a new storage, and so forgets its objects.
        if handler._connections is storage:
            handler[alias] = connection


class Spare:
    """The objects that the coroutines of one thread keep: each has its own while it runs, and then passes them on."""

    def __init__(self) -> None:
        self._free: list[Made] = []

    def take(self) -> None:
        """Put the objects of a finished coroutine into the current context."""
        if self._free:
            give(self._free.pop())

    def leave(self) -> None:
        """Take the objects of the current context."""
        if len(contextvars.copy_context()) > _OWN and (left := made()):
            self._free.append(left)


def find_handlers() -> None:
    """Look for handlers now, in a process whose forks are workers, since looking writes to all that modules have."""
    _handlers.found()


class _Handlers:
    """The handlers of all modules, other than of databases, whose connections belong to threads."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._modules = 0
        self._found: dict[int, Any] = {}

    def found(self) -> list[Any]:
        """Return them; search also the modules that have been imported since the last time."""
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            for name, module in self._new():
                self._seen.add(name)
                self._found.update((id(handler), handler) for handler in _handlers_of(module))
        return list(self._found.values())

    def _new(self) -> list[tuple[str, Any]]:
        # From the end, where new ones are: taking each one up would copy the memory that a fork shares.
        found = []
        try:
            for name, module in reversed(sys.modules.items()):
                if name in self._seen:
                    break
                found.append((name, module))
        except RuntimeError:  # another thread imports something
            return list(sys.modules.copy().items())
        return found


def _handlers_of(module: Any) -> list[Any]:
    return [
        value
        for value in list(getattr(module, "__dict__", {}).values())
        # By its type: a lazy object would be made by isinstance().
        if issubclass(type(value), BaseConnectionHandler) and not value.thread_critical
    ]


_handlers = _Handlers()
