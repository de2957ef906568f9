"""Calls that wait for the caller's commit, if autotask has a database of its own."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, ProgrammingError, connections

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

    If autotask has a database of its own, they are stored after the commit of the caller's transaction on the default
    database. The two commits are not one: if the process dies between them, the tasks are not stored.
    """
    if settings.DATABASE != DEFAULT_DB_ALIAS:
        default = connections[DEFAULT_DB_ALIAS]
        if default.in_atomic_block and not current().in_atomic_block:
            default.on_commit(_Uncommitted({task.id: task for task in tasks}, insert))
            return
    _store_now(tasks, insert)


def find(id: uuid.UUID) -> UncommittedCall | None:
    """Return a call that waits for the commit of this thread's transaction, or None."""
    found = None
    for function in _on_commit():
        if isinstance(function, _Forget) and function.id == id:
            return UncommittedCall(id, State.CANCELLED)
        if isinstance(function, _Uncommitted) and id in function.tasks:
            found = UncommittedCall(id, State.SCHEDULED)
    return found


def forget(id: uuid.UUID) -> bool:
    """Drop a call that waits for the commit of this thread's transaction.

    If the current savepoint is rolled back, the call is stored after all.

    :returns: whether there was such a call.
    """
    default = connections[DEFAULT_DB_ALIAS]
    for place, function in enumerate(_on_commit()):
        if isinstance(function, _Forget) and function.id == id:
            return False
        if isinstance(function, _Uncommitted) and id in function.tasks:
            # Like on_commit(), but before the call is stored.
            entry: Any = (set(default.savepoint_ids), _Forget(function, id), False)
            default.run_on_commit.insert(place, entry)
            return True
    return False


@dataclass(eq=False)
class _Uncommitted:
    """Stores tasks when it is called."""

    tasks: dict[uuid.UUID, NewTask]
    insert: Insert

    def __call__(self) -> None:
        if self.tasks:
            _store_now(list(self.tasks.values()), self.insert)


@dataclass(eq=False)
class _Forget:
    """Removes one of the tasks when it is called."""

    call: _Uncommitted
    id: uuid.UUID

    def __call__(self) -> None:
        del self.call.tasks[self.id]


def _on_commit() -> list[Any]:
    """Return the on_commit functions of this thread's transaction on the default database, in order."""
    if settings.DATABASE == DEFAULT_DB_ALIAS:
        return []
    return [function for _, function, *_ in connections[DEFAULT_DB_ALIAS].run_on_commit]


def _store_now(tasks: list[NewTask], insert: Insert) -> None:
    try:
        insert(tasks)
    except ProgrammingError as error:
        if errors.is_missing(error):
            # Django's own error, with what to do about it.
            error.args = (f"{str(error).rstrip()}\n{_MISSING} {advice.migrate(settings.DATABASE)}", *error.args[1:])
        raise
