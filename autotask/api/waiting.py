"""``?wait=``: hold an answer until a task has finished; on an event loop without a thread and without a connection."""

import asyncio
import contextlib
import functools
import uuid
from dataclasses import dataclass
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync
from django.db import InterfaceError, OperationalError, connections
from django.http import HttpRequest, QueryDict

from autotask import listener
from autotask.api.problems import Problem
from autotask.api.turns import Turns
from autotask.conf import settings
from autotask.handle import TaskHandle

#: So many requests on one event loop use the database at a time. Each has a thread and a connection of its own there.
AT_A_TIME = 10


#: The errors that a wait raises if the database cannot be queried.
NO_DATABASE = (OperationalError, InterfaceError)


@dataclass(frozen=True, slots=True)
class Pending:
    """Says that an answer is held: the request is answered again when that is over.

    :ivar id: the task that is waited for.
    :ivar seconds: how long at most.
    """

    id: uuid.UUID
    seconds: float


def seconds_of(request: HttpRequest) -> float:
    """Return for how many seconds a request may be held: those of ``?wait=``, up to AUTOTASK_API_WAIT.

    :raises Problem: 400 if that is not a number of seconds.
    """
    # Not request.GET, which the request would keep while the client waits.
    text = QueryDict(request.META.get("QUERY_STRING", ""), encoding=request.encoding).get("wait")
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise Problem(400, "bad_request", "wait must be a number of seconds, such as ?wait=20.")
    return min(seconds, settings.API_WAIT)


def wait(pending: Pending) -> None:
    """Wait in this thread."""
    # However it ends, the task is read again. Unpickling its result may raise anything.
    with contextlib.suppress(Exception):
        TaskHandle[object](pending.id).wait(pending.seconds)


async def ended(pending: Pending, leaves: "asyncio.Future[Any] | None" = None) -> None:
    """Wait on the event loop until the task has finished, its time is over, or it is gone.

    Many clients wait at a time, so this keeps as little as it can: asyncio.wait_for() would keep twice as much.

    :param leaves: is done when the client has left, which also ends the wait.
    :raises django.db.DatabaseError: the database cannot be queried.
    """
    future = listener.ended(pending.id)
    timer = asyncio.get_running_loop().call_later(pending.seconds, _give_up, future)
    if leaves is not None:
        leaves.add_done_callback(functools.partial(_give_up, future))
    try:
        await future
    finally:
        timer.cancel()


def _give_up(future: "asyncio.Future[listener.Ended]", _: object = None) -> None:
    if not future.done():
        future.set_result(None)


#: A coroutine takes one while its thread uses the database.
turns = Turns(AT_A_TIME)


def disconnect() -> None:
    """Close the connections of this thread: a client that waits needs none."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def connect() -> None:
    """Connect this thread to the database of autotask, unless it has a connection; that may be broken.

    :raises django.db.OperationalError: it cannot be reached, or has no room.
    """
    connections[settings.DATABASE].ensure_connection()


def let_thread_go() -> None:
    """End the thread that Django has for this request, unless it is in use; the next call of sync code has a new one.

    It would sleep as long as the client waits: Django 6.1 with asgiref 3.13 keeps one for each request until the response is
    sent, also for async views.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(AsyncToSync.executors, "current", None) is not None:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)
