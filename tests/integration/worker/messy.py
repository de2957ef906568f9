"""Task functions that leave connections as they should not be left."""

import threading

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from autotask.exceptions import TaskInterrupted
from autotask.tasks import delayed_task
from tests.gates import wait_at

#: The beginnings of the names of the threads in which they use the database.
THREADS = ("autotask-1", "autotask-sync")


def backend() -> int:
    """Return which connection this is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


@delayed_task
def look() -> int:
    return backend()


@delayed_task
def swallow_and_look() -> int:
    """Come to a good end although interrupted."""
    try:
        return backend()
    except TaskInterrupted:
        return 0


def _leave_open() -> int:
    pid = backend()
    transaction.set_autocommit(False)
    return pid


@delayed_task
def leave_open() -> int:
    """Leave the connection so that the next statement begins a transaction."""
    return _leave_open()


@delayed_task
def look_in_thread(name: str) -> None:
    """Use the database in a thread that closes its connection, and continue without."""

    def look_and_close() -> None:
        backend()
        connection.close()

    thread = threading.Thread(target=look_and_close)
    thread.start()
    thread.join()
    wait_at(name)


@delayed_task
def leave_in_thread(is_in_transaction: bool) -> int:
    """Use the database in a thread that does not close its connection."""
    found: list[int] = []

    def look_and_leave() -> None:
        if is_in_transaction:
            transaction.set_autocommit(False)
        found.append(backend())

    thread = threading.Thread(target=look_and_leave)
    thread.start()
    thread.join()
    return found[0]


@delayed_task
async def look_in_coroutine() -> int:
    return await sync_to_async(backend)()


@delayed_task
async def leave_open_in_coroutine() -> int:
    """Leave the connection so that the next statement begins a transaction."""
    return await sync_to_async(_leave_open)()
