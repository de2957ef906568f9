"""Send a statement, and do something else until its answer is needed. psycopg 3 can do that, psycopg2 cannot."""

import select
import time
from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

if is_psycopg3:
    from psycopg import pq
    from psycopg.errors import error_from_result


class Ahead:
    """A statement that is written before the last one is answered, and sent after that.

    :param connection: of a worker. Between sending and the answer nobody else may use it.
    """

    def __init__(self, connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> None:
        self.connection = connection
        with connection.cursor() as cursor:
            self._words = cursor.mogrify(sql, params).encode()

    def send(self) -> None:
        """Send it whole: PostgreSQL has it then, and runs it to its end even if this process is killed.

        :raises django.db.OperationalError: the connection is broken.
        """
        with self.connection.wrap_database_errors, Waiting(self.connection):
            pgconn = self.connection.connection.pgconn
            pgconn.send_query(self._words)
            while pgconn.flush():
                _wait(pgconn.socket, select.POLLOUT)

    def answer(self) -> int:
        """Wait for the answer, and return the number in its first column.

        :raises django.db.DatabaseError: the statement has failed.
        """
        with self.connection.wrap_database_errors, Waiting(self.connection):
            pgconn = self.connection.connection.pgconn
            while pgconn.is_busy():
                _wait(pgconn.socket, select.POLLIN)
                pgconn.consume_input()
            found = pgconn.get_result()
            while pgconn.get_result() is not None:
                pass  # The last one is None, and ends the statement.
            if found.status != pq.ExecStatus.TUPLES_OK:
                raise error_from_result(found)
            return int(found.get_value(0, 0))


class Waiting:
    """Has the stall watch see since when a thread waits, as it sees that of other statements.

    :param connection: of a worker.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection: Any = connection  # that of a worker has the attribute

    def __enter__(self) -> None:
        self._connection.asked_at = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._connection.asked_at = None


def _wait(descriptor: int, events: int) -> None:
    # select.select() refuses descriptors from 1024 on.
    poll = select.poll()
    poll.register(descriptor, events)
    poll.poll()
