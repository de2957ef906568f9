"""What a place of work keeps from task to task: the objects of Django's connection handlers, such as caches.

Tasks run in contexts of their own, so that neither language nor time zone reaches the next one. But ``django.core.cache.caches``
and its like keep their objects in the context too, and each object may hold connections of its own. A thread that serves requests
makes them once, and so does a thread that runs tasks.
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

#: How many variables the context of each attempt has: the running task, and the traces it leaves.
_OWN = 2


class Kept:
    """What one thread keeps. Only that thread calls it."""

    __slots__ = ("_base", "_made")

    def __init__(self) -> None:
        self._made: Made = []
        self._base = contextvars.Context()

    def context(self) -> contextvars.Context:
        """Return a context for one attempt, which has what is kept."""
        return self._base.copy()

    def keep(self, context: contextvars.Context) -> None:
        """Keep what handlers have made in the context of an attempt that is over."""
        if len(context) <= _OWN and not self._made:
            return  # as nearly always
        found = context.run(made)
        if found != self._made:
            self._made, self._base = found, contextvars.Context()
            self._base.run(give, found)


def made() -> Made:
    """Return what handlers have made in the present context, after telling the caches to close, as at the end of a request."""
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
        return []  # Its settings are missing or wrong, and nobody has used it.


def give(kept: Made) -> None:
    """Give the present context what is kept."""
    for handler, storage, alias, connection in kept:
        # A handler whose settings are changed, as tests do, forgets its objects by getting a new storage.
        if handler._connections is storage:
            handler[alias] = connection


class Spare:
    """What the coroutines of one thread keep: each has objects to itself while it runs, then the next one gets them."""

    def __init__(self) -> None:
        self._free: list[Made] = []

    def take(self) -> None:
        """Give the present context what a former one has left."""
        if self._free:
            give(self._free.pop())

    def leave(self) -> None:
        """Take what the present context has."""
        if len(contextvars.copy_context()) > _OWN and (left := made()):
            self._free.append(left)


class _Handlers:
    """The handlers of all modules, other than of databases, whose connections belong to threads."""

    def __init__(self) -> None:
        self._modules = 0
        self._found: list[Any] = []

    def found(self) -> list[Any]:
        """Return them. They are looked for when modules have been imported since the last time."""
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            self._found = list({id(handler): handler for handler in self._look()}.values())
        return self._found

    @staticmethod
    def _look() -> list[Any]:
        return [
            value
            for module in list(sys.modules.values())
            for value in list(getattr(module, "__dict__", {}).values())
            # By its type: a lazy object would be made by isinstance().
            if issubclass(type(value), BaseConnectionHandler) and not value.thread_critical
        ]


_handlers = _Handlers()
