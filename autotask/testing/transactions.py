"""What a commit would do, done inside the transaction in which a TestCase keeps each test, and which never commits."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("autotask.testing")

#: What is to be done on commit: the savepoints it belongs to, the function, and whether it may fail without harm.
Held = list[tuple[set[str], Callable[[], object], bool]]

#: How many functions each database connection held for its commit.
Marks = Mapping[str, int]


def is_inside_code(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is an open transaction other than those of the test itself: one of the code that is tested."""
    if not connection.in_atomic_block:
        return not connection.get_autocommit()
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def held_for_commit(connection: BaseDatabaseWrapper) -> Held:
    """Return what a connection holds for its commit; the list itself, and no copy."""
    return cast(Held, connection.run_on_commit)


def marks() -> Marks:
    """Return how many functions each connection of this thread holds for its commit now."""
    return {connection.alias: len(held_for_commit(connection)) for connection in _in_transactions()}


def run_on_commit(since: Marks | None = None) -> None:
    """Run what was to be done on commit, where only the test itself keeps its transaction open.

    Everything is run once, whoever else asks for it later.

    :param since: only what was registered since then.
    :raises Exception: whatever one of the functions raises that was not registered as robust.
    """
    for connection in _in_transactions():
        if not is_inside_code(connection):
            _run_on_commit(connection, (since or {}).get(connection.alias, 0))


@contextlib.contextmanager
def sheltered() -> Iterator[None]:
    """Keep the transaction of the test usable, whatever statement fails inside the block.

    An error of the database spoils the whole transaction, so all that the block has done in it is undone then. What the
    block did before any other exception stays, as it does where each statement is committed.
    """
    held = [
        (connection, connection.savepoint(), len(held_for_commit(connection)))
        for connection in _in_transactions()
        if not connection.needs_rollback
    ]
    try:
        yield
    finally:
        for connection, savepoint, registered in held:
            _leave(connection, savepoint, registered)


def _in_transactions() -> list[BaseDatabaseWrapper]:
    return [connection for connection in connections.all(initialized_only=True) if connection.in_atomic_block]


def _run_on_commit(connection: BaseDatabaseWrapper, start: int) -> None:
    around = set(connection.savepoint_ids)
    index = start
    # What a function registers in its turn is run as well.
    while index < len(held := held_for_commit(connection)):
        savepoints, function, robust = held[index]
        # What was registered before the test began, for its whole class, is not the business of one test.
        if around <= savepoints:
            # Kept in its place, for those who count what is registered, as captureOnCommitCallbacks() does.
            held[index] = (savepoints, _done, robust)
            _call(function, robust)
        index += 1


def _call(function: Callable[[], object], robust: bool) -> None:
    try:
        function()
    except Exception:
        if not robust:
            raise
        logger.exception("What was to be done on commit has failed")


def _done() -> None:
    """Stand in the place of what has been done."""


def _leave(connection: BaseDatabaseWrapper, savepoint: str | None, registered: int) -> None:
    if savepoint is None or not connection.in_atomic_block:
        return
    if connection.needs_rollback or not connection.is_usable():
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
        del connection.run_on_commit[registered:]
    else:
        connection.savepoint_commit(savepoint)
