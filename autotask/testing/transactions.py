"""Do what a commit would do, inside the transaction around each test of a TestCase, which never commits."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.uncommitted import in_transactions

logger = logging.getLogger("autotask.testing")

#: The on_commit functions: the savepoints of each, the function, and whether it is robust.
Held = list[tuple[set[str], Callable[[], object], bool]]

#: The number of on_commit functions that each database connection had.
Marks = Mapping[str, int]


def is_inside_code(connection: BaseDatabaseWrapper) -> bool:
    """Whether the tested code has an open transaction, besides those of the test itself."""
    if not connection.in_atomic_block:
        return not connection.get_autocommit()
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def held_for_commit(connection: BaseDatabaseWrapper) -> Held:
    """Return the on_commit functions of a connection: the list itself, not a copy."""
    return cast(Held, connection.run_on_commit)


def marks() -> Marks:
    """Return the number of on_commit functions that each connection of this thread has now."""
    return {connection.alias: len(held_for_commit(connection)) for connection in in_transactions()}


def run_on_commit(since: Marks | None = None) -> None:
    """Run the on_commit functions of connections on which only the test itself keeps a transaction open.

    Each is run only once, even if something else runs them later.

    :param since: only those that were registered since then.
    :raises Exception: the error of a function that is not robust.
    """
    for connection in in_transactions():
        if not is_inside_code(connection):
            _run_on_commit(connection, (since or {}).get(connection.alias, 0))


@contextlib.contextmanager
def sheltered() -> Iterator[None]:
    """Keep the transaction of the test usable, even if a statement fails inside the block.

    A database error aborts the whole transaction, so all that the block has done in it is rolled back. Before any other
    exception it stays, as it does if each statement is committed.
    """
    held = [
        (connection, connection.savepoint(), len(held_for_commit(connection)))
        for connection in in_transactions()
        if not connection.needs_rollback
    ]
    try:
        yield
    finally:
        for connection, savepoint, registered in held:
            _leave(connection, savepoint, registered)


def _run_on_commit(connection: BaseDatabaseWrapper, start: int) -> None:
    around = set(connection.savepoint_ids)
    index = start
    # Functions that these register are run as well.
    while index < len(held := held_for_commit(connection)):
        savepoints, function, robust = held[index]
        # Functions registered before the test, for its whole class, are not run by one test.
        if around <= savepoints:
            # Keep its place, because captureOnCommitCallbacks() and others count the functions.
            held[index] = (savepoints, _done, robust)
            _call(function, robust)
        index += 1


def _call(function: Callable[[], object], robust: bool) -> None:
    try:
        function()
    except Exception:
        if not robust:
            raise
        logger.exception("An on_commit function failed")


def _done() -> None:
    """Take the place of a function that was run."""


def _leave(connection: BaseDatabaseWrapper, savepoint: str | None, registered: int) -> None:
    if savepoint is None or not connection.in_atomic_block:
        return
    if connection.needs_rollback or not connection.is_usable():
        connection.needs_rollback = False
        connection.savepoint_rollback(savepoint)
        del connection.run_on_commit[registered:]
    else:
        connection.savepoint_commit(savepoint)
