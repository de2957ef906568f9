"""Connections that the instances of background workers borrow for their statements, so that idle ones need none."""

import contextlib
import threading
from collections.abc import Iterator

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import Dedicated, dedicated


class Lending:
    """Keeps connections that nobody uses now. Any thread may borrow one."""

    def __init__(self) -> None:
        self._free: list[Dedicated] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[BaseDatabaseWrapper]:
        """Lend a connection for the duration of the block; it is closed if that fails in the database.

        :raises django.db.OperationalError: the database cannot be reached.
        """
        with self._lock:
            # The last one that was returned: the others are closed once there is no need for them.
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = dedicated("background")
        try:
            yield connection.wrapper
        except (DatabaseError, InterfaceError, OSError):
            connection.close()
            raise
        finally:
            with self._lock:
                self._free.append(connection)
                closes = self._closed
            if closes:
                connection.close()

    def thin_out(self) -> None:
        """Close all but one of the connections that nobody uses."""
        with self._lock:
            spare, self._free = self._free[:-1], self._free[-1:]
        for connection in spare:
            connection.close()

    def close(self) -> None:
        """Close all connections, those that are lent as soon as they are returned."""
        with self._lock:
            self._closed = True
            spare, self._free = self._free, []
        for connection in spare:
            connection.close()
