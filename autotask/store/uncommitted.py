"""Calls that wait for the commits of the caller's transactions on other databases than that of autotask."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.store import errors
from autotask.store.connection import current
from autotask.store.enqueue import NewTask
from autotask.task import State
from autotask.texts import advice

_MISSING = "The tables of autotask are missing, or lack columns. Run:"

Insert = Callable[[list[NewTask]], object]


@dataclass(frozen=True, slots=True)
class UncommittedCall:
    """A call that is not stored yet; its attributes are those of a :class:`autotask.store.read.StoredTask`."""

    id: uuid.UUID
    state: State
    name: str = ""
    fence: int | None = None
    attempt: int = 0
    failures: int = 0
    progress: None = None
    value: None = None
    error_message: str = ""


def store(tasks: list[NewTask], insert: Insert) -> None:
    """Store tasks with *insert* now, inside the caller's transaction, if that is on the database of autotask.

    If there is none, but the caller has transactions open on other databases, they are stored after the last of these has
    committed, and not at all if one of them is rolled back. Such commits are not one: if the process dies between them, the
    tasks are not stored.
    """
    if others := _to_wait_for():
        call = _Uncommitted({task.id: task for task in tasks}, insert, len(others))
        for connection in others:
            connection.on_commit(call)
    else:
        _store_now(tasks, insert)


def has_to_wait() -> bool:
    """Whether tasks that are stored now wait for the commits of transactions on other databases."""
    return bool(_to_wait_for())


def find(id: uuid.UUID) -> UncommittedCall | None:
    """Return a call that waits for the commits of this thread's transactions, or None."""
    waiting: list[_Uncommitted] = []
    for _, function in _on_commit():
        if isinstance(function, _Forget) and function.id == id:
            return UncommittedCall(id, State.CANCELLED)
        if isinstance(function, _Uncommitted) and id in function.tasks:
            waiting.append(function)
    # Where one of the transactions was rolled back, the others commit without effect.
    return UncommittedCall(id, State.SCHEDULED) if waiting and len(waiting) == waiting[0].commits else None


def forget(id: uuid.UUID) -> bool:
    """Drop a call that waits for the commits of this thread's transactions.

    If the current savepoint is rolled back, the call is stored after all.

    :returns: whether there was such a call.
    """
    if (found := find(id)) is None or found.state is State.CANCELLED:
        return False
    for connection, function in _on_commit():
        if isinstance(function, _Uncommitted) and id in function.tasks:
            # Like on_commit(), but before the call is stored.
            entry: Any = (set(connection.savepoint_ids), _Forget(function, id), False)
            place = next(place for place, (_, each, *_) in enumerate(connection.run_on_commit) if each is function)
            connection.run_on_commit.insert(place, entry)
            break
    return True


@dataclass(eq=False)
class _Uncommitted:
    """Stores tasks when it is called for the last time: each transaction does so when it commits."""

    tasks: dict[uuid.UUID, NewTask]
    insert: Insert
    commits: int

    def __call__(self) -> None:
        self.commits -= 1
        if self.tasks and not self.commits:
            _store_now(list(self.tasks.values()), self.insert)


@dataclass(eq=False)
class _Forget:
    """Removes one of the tasks when it is called."""

    call: _Uncommitted
    id: uuid.UUID

    def __call__(self) -> None:
        del self.call.tasks[self.id]


def _store_now(tasks: list[NewTask], insert: Insert) -> None:
    try:
        insert(tasks)
    except ProgrammingError as error:
        if errors.is_missing(error):
            # Django's own error, with what to do about it.
            error.args = (f"{str(error).rstrip()}\n{_MISSING} {advice.migrate(settings.DATABASE)}", *error.args[1:])
        raise


def in_transactions() -> list[BaseDatabaseWrapper]:
    """Return the connections on which this thread has a transaction open."""
    return [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]


def _to_wait_for() -> list[BaseDatabaseWrapper]:
    if len(connections.settings) == 1 or current().in_atomic_block:
        return []
    return in_transactions()


def _on_commit() -> list[tuple[BaseDatabaseWrapper, Any]]:
    """Return the on_commit functions of this thread's transactions, in order, each with its connection."""
    if len(connections.settings) == 1:
        return []
    open_ = in_transactions()
    return [(connection, function) for connection in open_ for _, function, *_ in connection.run_on_commit]
