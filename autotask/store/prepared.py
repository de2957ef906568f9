"""Statements that a worker repeats are planned once for each of its connections.

Under light load, planning a statement costs more than running it.
(PostgreSQL documentation, "PREPARE".)
"""

import functools
import re
import weakref
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store.connection import execute, keeps_session, rows

#: A statement is prepared the third time it is run on a connection: rarer ones are not worth it.
OFTEN = 3

#: Prepared statements of one connection at most; the least recently used one goes first.
MOST = 20

#: Statements of one connection that are counted at most, before counting starts again.
MOST_COUNTED = 50

_PARAMETER = re.compile(r"%\((\w+)\)s::(\w+(?:\[\])?)")


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

    def _prepare(self, connection: BaseDatabaseWrapper, sql: str) -> str:
        if len(self._calls) >= MOST:
            execute(connection, f"DEALLOCATE {_name(self._calls.popitem(last=False)[1])}")
        self._made += 1
        body, types, arguments = _parts(sql)
        execute(connection, f"PREPARE autotask_{self._made}{types} AS {body}")
        self._calls[sql] = f"EXECUTE autotask_{self._made}{arguments}"
        return self._calls[sql]


_known: weakref.WeakKeyDictionary[BaseDatabaseWrapper, _Statements] = weakref.WeakKeyDictionary()


def prepared_rows(
    connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows; on a worker's own connection it is prepared if it comes often.

    :param sql: each parameter has the form ``%(name)s::type``; there are no other per cent signs.
    """
    if keeps_session(connection):
        sql = _known.setdefault(connection, _Statements()).call(connection, sql)
    return rows(connection, sql, params)


@functools.lru_cache(maxsize=100)
def _parts(sql: str) -> tuple[str, str, str]:
    """Return a statement with numbered parameters, the list of their types, and the arguments of a call."""
    types = dict(_PARAMETER.findall(sql))
    numbers = {name: number for number, name in enumerate(types, 1)}
    body = _PARAMETER.sub(lambda found: f"${numbers[found[1]]}", sql)
    if not types:
        return body, "", ""
    arguments = ", ".join(f"%({name})s::{type}" for name, type in types.items())
    return body, f" ({', '.join(types.values())})", f" ({arguments})"


def _name(call: str) -> str:
    return call.split()[1]
