"""Leaving a clean database to the next test, at a tenth of what that costs Django.

``flush`` truncates all tables, which makes new files for each of them and of their indexes, and then makes content types and
permissions anew. A test writes a few rows to a few tables, and deleting these is forty times faster. Django also opens a new
connection for each test: a new server process, which has to read the catalogues again. Few tests change their session.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

from autotask.store import prepared

#: What migrations have filled, and tests leave as it is.
_KEPT = {"django_content_type", "auth_permission"}

#: Tables with more bytes are truncated: later tests should not read past what was deleted.
_SMALL = 65536

_USED = """
SELECT name, pg_relation_size(to_regclass(name)) > %s
FROM unnest(%s::text[]) AS name WHERE pg_relation_size(to_regclass(name)) > 0
"""

#: Whether a session has settings, prepared statements, locks and the like that it did not begin with.
_CHANGED = """
SELECT current_user <> session_user OR pg_my_temp_schema() <> 0 OR current_setting('TimeZone') <> %s
    OR EXISTS (SELECT FROM pg_prepared_statements) OR EXISTS (SELECT pg_listening_channels())
    OR EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
    OR EXISTS (SELECT FROM pg_settings WHERE source = 'session' AND name NOT IN ('TimeZone', 'client_encoding'))
"""


def empty(test_case: TransactionTestCase, *_: Any) -> None:
    """Empty the tables of the databases of a test case; to stand in the place of its ``_fixture_teardown()``."""
    for alias in test_case._databases_names(include_mirrors=False):
        names = connections[alias].introspection.django_table_names(include_views=False)
        with connections[alias].cursor() as cursor:
            cursor.execute(_USED, [_SMALL, sorted(set(names) - _KEPT)])
            used = dict(cursor.fetchall())
            if large := [name for name, is_large in used.items() if is_large]:
                cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
            if small := [name for name, is_large in used.items() if not is_large]:
                deletes = [f"_{number} AS (DELETE FROM {name})" for number, name in enumerate(small)]
                cursor.execute(f"WITH {', '.join(deletes)} SELECT")


def reconnect(_: TransactionTestCase) -> bool:
    """Close the connections whose session a test has changed; to stand in the place of ``_should_reload_connections()``."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not _is_as_new(connection):
            connection.close()
    return False


def _is_as_new(connection: BaseDatabaseWrapper) -> bool:
    if connection.alias != DEFAULT_DB_ALIAS or connection.in_atomic_block or connection.execute_wrappers:
        return False
    try:
        if not connection.get_autocommit() or connection.connection.info.transaction_status:
            return False
        prepared._callers.pop(connection.connection, None)  # or a test would prepare what earlier ones have counted
        with connection.cursor() as cursor:
            cursor.execute(_CHANGED, [connection.timezone_name])
            return cursor.fetchone() == (False,)
    except Error:  # It is broken.
        return False
