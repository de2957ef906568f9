"""Send a statement, and do something else until its answer is needed. psycopg 3 can do that, psycopg2 cannot."""

import select
from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

if is_psycopg3:
    from psycopg import pq
    from psycopg.errors import error_from_result


class Sent:
    """A statement that PostgreSQL has, and runs to its end even if this process is killed. Until its answer is there, nobody
    else may use its connection.

    :param connection: of a worker.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection

    def answer(self) -> int:
        """Wait for the answer, and return the number in its first column.

        :raises django.db.DatabaseError: the statement has failed.
        """
        with self._connection.wrap_database_errors:
            pgconn = self._connection.connection.pgconn
            while pgconn.is_busy():
                select.select([pgconn.socket], [], [])
                pgconn.consume_input()
            found = pgconn.get_result()
            while pgconn.get_result() is not None:
                pass  # The last one is None, and ends the statement.
            if found.status != pq.ExecStatus.TUPLES_OK:
                raise error_from_result(found)
            return int(found.get_value(0, 0))


def send(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> Sent:
    """Send a statement whole, and do not wait for the answer."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        words = cursor.mogrify(sql, params).encode()
        pgconn = connection.connection.pgconn
        pgconn.send_query(words)
        while pgconn.flush():
            select.select([], [pgconn.socket], [])
    return Sent(connection)
