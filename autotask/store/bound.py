"""Run a prepared statement with arguments that the protocol binds. psycopg 3 can do that, psycopg2 cannot.

A call of it in SQL costs more on both sides: the driver writes the arguments as literals into a text, which the server then parses.
On an idle system, with cold caches, that is a fifth of a millisecond.
(PostgreSQL documentation, "Extended Query".)
"""

import functools
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

if is_psycopg3:
    from psycopg import adapters, generators, pq
    from psycopg.adapt import Transformer
    from psycopg.errors import error_from_result

    _TIMESTAMPTZ = adapters.types["timestamptz"].oid

#: Functions that write the values of these types, and no others; bytes are sent as they are.
_WORDS: dict[type, Callable[[Any], bytes | None]] = {
    bytes: lambda value: value,
    str: str.encode,
    int: lambda value: b"%d" % value,
    float: lambda value: repr(value).encode(),
    uuid.UUID: lambda value: value.hex.encode(),
    type(None): lambda value: None,
}

#: The methods by which a backend may do something for each statement. django-tenants, for one, sets the search path there.
_CURSORS = frozenset({"cursor", "_cursor", "create_cursor"})

#: The formats of the protocol.
_TEXT, _BINARY = 0, 1


def can_bind(connection: BaseDatabaseWrapper) -> bool:
    """Whether nothing on a connection has to see the statement as a text: nobody logs or wraps it, and none is on its way."""
    if not is_psycopg3 or connection.execute_wrappers or connection.queries_logged:
        return False
    backend: Any = type(connection)  # can be hashed, which mypy doubts
    if not _has_plain_cursors(backend) or not _CURSORS.isdisjoint(vars(connection)):
        return False
    raw = connection.connection
    if raw is None or raw.closed:
        return False  # Django says what is wrong.
    pgconn = raw.pgconn
    return not pgconn.pipeline_status and pgconn.parameter_status(b"client_encoding") == b"UTF8"


@functools.cache
def _has_plain_cursors(backend: type[BaseDatabaseWrapper]) -> bool:
    """Whether the cursors of a backend are those of Django."""
    # It has none of them if it is the proxy django.db.connection, which passes each access on.
    return all(getattr(backend, name, None) is getattr(DatabaseWrapper, name) for name in _CURSORS)


def words(values: Iterable[Any]) -> list[bytes | None] | None:
    """Return values as the protocol sends them; None if one of them is not a number, text, bytes, a UUID or None."""
    said = []
    for value in values:
        kind = type(value)
        if (write := _WORDS.get(kind)) is None:
            return None
        word = write(value)
        if kind is str and b"\0" in (word or b""):
            return None  # The driver refuses it.
        said.append(word)
    return said


def run(connection: BaseDatabaseWrapper, name: str, values: Iterable[Any]) -> list[tuple[bytes | None, ...]] | None:
    """Run a prepared statement and return its rows, with values as PostgreSQL writes them.

    :param connection: for which :func:`can_bind` is true.
    :param values: its arguments, in order.
    :returns: None if they cannot be bound; then nothing was sent.
    :raises django.db.DatabaseError: the statement has failed.
    """
    if (found := _result(connection, name, list(values))) is None:
        return None
    return [tuple(found.get_value(row, column) for column in range(found.nfields)) for row in range(found.ntuples)]


def run_loaded(connection: BaseDatabaseWrapper, name: str, values: Iterable[Any]) -> list[tuple[Any, ...]] | None:
    """Do what :func:`run` does, but return values as a cursor of Django does."""
    raw = connection.connection
    if raw.adapters.get_loader(_TIMESTAMPTZ, pq.Format.TEXT).timezone != connection.timezone:
        return None  # Django gives such a cursor a loader of its own.
    if (found := _result(connection, name, list(values))) is None:
        return None
    loader = Transformer(raw)
    loader.set_pgresult(found)
    return loader.load_rows(0, found.ntuples, tuple)


def _result(connection: BaseDatabaseWrapper, name: str, values: list[Any]) -> "pq.abc.PGresult | None":
    if (said := words(values)) is None:
        return None
    formats = [_BINARY if type(value) is bytes else _TEXT for value in values]
    raw = connection.connection
    with connection.wrap_database_errors:
        with raw.lock:
            raw.pgconn.send_query_prepared(name.encode(), said, formats, _TEXT)
            found, *more = raw.wait(generators.execute(raw.pgconn))
        # The commit comes after the answer of the statement, and may fail: a conflict, a deferred constraint, a full queue of NOTIFY.
        # (findings/a_statement_whose_commit_fails_has_two_results.sh)
        for each in (found, *more):
            if each.status != pq.ExecStatus.TUPLES_OK:
                raise error_from_result(each)
    return found  # type: ignore[no-any-return]  # of the driver
