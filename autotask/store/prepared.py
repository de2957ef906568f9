"""Statements that come often are planned once for each connection.

Under light load, planning a statement costs more than running it.
(PostgreSQL documentation, "PREPARE".)
"""

import functools
import re
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.store import bound
from autotask.store.ahead import Ahead, Waiting
from autotask.store.connection import again, execute, is_alone, keeps_session, rows, shares_sessions
from autotask.store.errors import sqlstate

#: A statement is prepared the third time it is run on a connection: rarer ones are not worth it.
OFTEN = 3

#: Prepared statements of one connection at most; the least recently used one goes first.
MOST = 20

#: Statements of one connection that are counted at most, before counting starts again.
MOST_COUNTED = 50

#: Runs a prepared statement with arguments that the protocol binds, or returns None.
_RunBound = Callable[..., list[tuple[Any, ...]] | None]

_PARAMETER = re.compile(r"%\((\w+)\)s::(\w+(?:\[\])?)")


#: There is no such prepared statement: somebody has run DISCARD ALL. Or its columns have changed: ``migrate`` has run.
_OUTDATED = ("26000", "0A000")


class _Statements:
    """The prepared statements of one connection: how to call each, by its text."""

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()
        self._calls: OrderedDict[str, str] = OrderedDict()
        self._made = 0

    def call(self, connection: BaseDatabaseWrapper, sql: str) -> str:
        """Return the SQL to send for a statement: its text, or a call of the prepared one."""
        if sql in self._calls:
            self._calls.move_to_end(sql)
            return self._calls[sql]
        if len(self._uses) > MOST_COUNTED:
            self._uses.clear()
        self._uses[sql] += 1
        return self._prepare(connection, sql) if self._uses[sql] >= OFTEN else sql

    def known(self, sql: str) -> str | None:
        """Return the call of a prepared statement; None if it is not prepared."""
        return self._calls.get(sql)

    def _prepare(self, connection: BaseDatabaseWrapper, sql: str) -> str:
        if len(self._calls) >= MOST:
            self._drop(connection, _name(self._calls.popitem(last=False)[1]))
        self._made += 1
        body, types, arguments = _parts(sql)
        execute(connection, f"PREPARE autotask_{self._made}{types} AS {body}")
        self._calls[sql] = f"EXECUTE autotask_{self._made}{arguments}"
        return self._calls[sql]

    def _drop(self, connection: BaseDatabaseWrapper, name: str) -> None:
        try:
            execute(connection, f"DEALLOCATE {name}")
        except DatabaseError as error:
            if sqlstate(error) not in _OUTDATED or not is_alone(connection):
                raise
            self.forget()

    def forget(self) -> None:
        """Begin again, with other names: the statements may still be there."""
        self._uses.clear()
        self._calls.clear()


class _OfCaller(_Statements):
    """Those of a connection of a caller, who may have a pooler in front of the server, which shares sessions.

    A pooler makes up a process id, unless it has a session for each connection; it is asked for before anything is prepared.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_direct: bool | None = None

    def _prepare(self, connection: BaseDatabaseWrapper, sql: str) -> str:
        if self._is_direct is None:
            self._is_direct = rows(connection, "SELECT pg_backend_pid()")[0][0] == driver_process_id(connection)
        return super()._prepare(connection, sql) if self._is_direct else sql

    def forget(self) -> None:
        """Begin again, and ask again whether there is a pooler."""
        super().forget()
        self._is_direct = None


def driver_process_id(connection: BaseDatabaseWrapper) -> int:
    """Return the id of the server process, as the driver was told when it connected."""
    return int(connection.connection.info.backend_pid)


_known: weakref.WeakKeyDictionary[BaseDatabaseWrapper, _Statements] = weakref.WeakKeyDictionary()

#: By the connection of the driver: that of Django opens one after the other.
_callers: weakref.WeakKeyDictionary[Any, _OfCaller] = weakref.WeakKeyDictionary()


def prepared_rows(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows; on a worker's own connection it is prepared if it comes often.

    The driver binds the arguments if it can, and if none is a list: arrays are quicker as literals, see :mod:`autotask.store.arrays`.

    :param sql: each parameter has the form ``%(name)s::type``; with parameters, any other per cent sign is doubled.
    """
    return _worker_rows(connection, sql, params, bound.run_loaded)


def prepared_ahead(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> Ahead | None:
    """Return a call of a statement, to be sent; None: it is not prepared on this connection, or that cannot send ahead."""
    statements = _known.get(connection) if is_psycopg3 else None
    call = statements and statements.known(sql)
    return Ahead(connection, call, params) if call else None


def rows_for_caller(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement on a caller's connection and return its rows; it is prepared if it comes often there.

    Only outside of transactions: if the prepared statement is gone, it is run as it is. With ``server_side_binding``, the driver
    could not bind the arguments of a prepared statement.

    :param sql: as for :func:`prepared_rows`.
    """
    statements = _of_caller(connection)
    return rows(connection, sql, params) if statements is None else _run(statements, connection, sql, params)


def bare_rows_for_caller(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Do what :func:`rows_for_caller` does, quicker, for rows that are only counted, or have numbers only.

    :returns: rows whose values are those of the driver, or bytes as PostgreSQL writes them: ``int()`` takes both.
    """
    found = bare_rows_if_prepared(connection, sql, params)
    return rows(connection, sql, params) if found is None else found


def bare_rows_if_prepared(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]
) -> list[tuple[Any, ...]] | None:
    """Do the same, but nothing where nothing may be prepared now, as in a transaction; then return None."""
    statements = _of_caller(connection)
    return None if statements is None else _run(statements, connection, sql, params, bound.run)


def bound_rows_for_caller(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Do what :func:`rows_for_caller` does, and return the same, quicker where the driver can bind the arguments."""
    statements = _of_caller(connection)
    if statements is None:
        return rows(connection, sql, params)
    return _run(statements, connection, sql, params, bound.run_loaded)


def bare_rows(connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Do what :func:`prepared_rows` does, quicker; see :func:`bare_rows_for_caller`."""
    return _worker_rows(connection, sql, params, bound.run)


def _worker_rows(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None, run_bound: _RunBound
) -> list[tuple[Any, ...]]:
    if not keeps_session(connection):
        return rows(connection, sql, params)

    def run_watched(*args: Any) -> list[tuple[Any, ...]] | None:
        with Waiting(connection):  # Its cursors note that themselves, and reset it.
            return run_bound(*args)

    return _run(_of_worker(connection), connection, sql, params, run_watched)


def _of_worker(connection: BaseDatabaseWrapper) -> _Statements:
    if (found := _known.get(connection)) is None:
        found = _known[connection] = _Statements()
    return found


def _of_caller(connection: BaseDatabaseWrapper) -> _OfCaller | None:
    """Return the prepared statements of a caller's connection; None if nothing may be prepared there now."""
    if getattr(connection, "health_check_enabled", False):  # in no stub of it
        connection.close_if_health_check_failed()  # else the first cursor of a request would do it
    connection.ensure_connection()
    if shares_sessions() or not is_alone(connection) or connection.settings_dict["OPTIONS"].get("server_side_binding"):
        return None
    raw = connection.connection
    if (found := _callers.get(raw)) is None:
        found = _callers[raw] = _OfCaller()
    return found


def _run(
    statements: _Statements,
    connection: BaseDatabaseWrapper,
    sql: str,
    params: Mapping[str, Any] | None,
    run_bound: _RunBound | None = None,
) -> list[tuple[Any, ...]]:
    call = statements.call(connection, sql)
    try:
        if run_bound and call is not sql and params is not None and bound.can_bind(connection):
            values = [params[name] for name in _names(sql)]
            found = again(connection, lambda: run_bound(connection, _name(call), values))
            if found is not None:
                return found
        return rows(connection, call, params)
    except DatabaseError as error:
        if call is sql or sqlstate(error) not in _OUTDATED or not is_alone(connection):
            raise
        statements.forget()
        return rows(connection, sql, params)


@functools.lru_cache(maxsize=100)
def _parts(sql: str) -> tuple[str, str, str]:
    """Return a statement with numbered parameters, the list of their types, and the arguments of a call."""
    types = dict(_PARAMETER.findall(sql))
    numbers = {name: number for number, name in enumerate(types, 1)}
    body = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", sql)
    if not types:
        return body, "", ""
    body = body.replace("%%", "%")
    arguments = ", ".join(f"%({name})s::{type}" for name, type in types.items())
    return body, f" ({', '.join(types.values())})", f" ({arguments})"


@functools.lru_cache(maxsize=100)
def _names(sql: str) -> tuple[str, ...]:
    """Return the names of the parameters of a statement, in the order in which a prepared one takes them."""
    return tuple(dict(_PARAMETER.findall(sql)))


def _name(call: str) -> str:
    return call.split(maxsplit=2)[1]
