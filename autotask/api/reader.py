"""One thread and one connection for what requests on an event loop read before and after they wait.

A thread and a connection for each of them would be opened and closed a thousand times when a thousand clients come.
"""

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync
from django.db import connections
from django.http import HttpRequest

from autotask.api.auth import is_with_key

R = TypeVar("R")

#: Seconds without anything to read after which the thread ends, and closes its connections.
IDLE = 2.0


class Reader:
    """Runs acts one after the other, in a thread that exists only while there are some and a moment longer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._acts: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None

    def run(self, act: Callable[[], R]) -> "asyncio.Future[R]":
        """Return a future for what an act returns or raises. It may be cancelled.

        :param act: runs in the context of the caller, as in the language of the request.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        run = functools.partial(contextvars.copy_context().run, act)
        with self._changed:
            self._acts.append(functools.partial(_answer, future, run))
            self._changed.notify()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="autotask-reader", daemon=True)
                thread.start()
                self._thread = thread  # only when it runs: if it cannot start, the next call has to try again
        return future

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (act := self._next()) is not None:
            act()
            _close(lambda connection: connection.errors_occurred)
            del act  # what it refers to would stay until the next one comes

    def _next(self) -> Callable[[], None] | None:
        """Return the next act; None if none has come for a while, and the thread is over."""
        with self._changed:
            if self._acts:
                return self._acts.popleft()
        # The server may have closed a connection meanwhile.
        if (found := self._wait()) is not None:
            _close(lambda connection: not connection.is_usable())
        return found

    def _wait(self) -> Callable[[], None] | None:
        with self._changed:
            if self._changed.wait_for(lambda: self._acts, IDLE):
                return self._acts.popleft()
            self._thread = None
        connections.close_all()
        return None


def _answer(future: "asyncio.Future[R]", act: Callable[[], R]) -> None:
    if future.cancelled():
        return
    settle: Callable[[], None]
    try:
        settle = functools.partial(_set, future, asyncio.Future.set_result, act())
    except BaseException as error:
        settle = functools.partial(_set, future, asyncio.Future.set_exception, _bearable(error))
    with contextlib.suppress(RuntimeError):  # The event loop is closed: nobody waits.
        future.get_loop().call_soon_threadsafe(settle)


def _bearable(error: BaseException) -> Exception:
    """Return an error for one request: futures refuse a StopIteration, and what is no Exception would end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    bearable = RuntimeError(f"{type(error).__name__} was raised while a request was answered")
    bearable.__cause__ = error
    return bearable


def _set(future: "asyncio.Future[Any]", settle: Callable[[Any, Any], None], value: Any) -> None:
    if not future.done():
        settle(future, value)


def _close(is_bad: Callable[[Any], bool]) -> None:
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and is_bad(connection):
            connection.close()


_reader = Reader()


def serves(request: HttpRequest) -> bool:
    """Whether a request may read here: it only reads and waits, its caller has no session, and it has a thread of its own.

    A session may run the project's own code, on which others must not wait. In tests, all that is called
    by one thread shares its connection, and the open transaction there.
    """
    if request.method not in ("GET", "HEAD") or "wait=" not in request.META.get("QUERY_STRING", ""):
        return False
    is_shared = getattr(AsyncToSync.executors, "current", None) is not None
    return not is_shared and (is_with_key(request) or not request.META.get("HTTP_COOKIE"))


async def read(act: Callable[[], R]) -> R:
    """Run an act in the thread of this process, and return what it returns."""
    return await _reader.run(act)


def _renew_in_fork() -> None:
    # The thread has stayed behind in the parent.
    global _reader
    _reader = Reader()


os.register_at_fork(after_in_child=_renew_in_fork)
