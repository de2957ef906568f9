"""Migrations are applied while the site is running."""

import contextlib
import threading

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from autotask.store.connection import current, dedicated, execute, rows
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

#: The tables that may have millions of rows, and the files that they are in.
FILES = """
SELECT relname, pg_relation_filenode(oid) FROM pg_class
WHERE relname IN ('autotask_task', 'autotask_result', 'autotask_attempt') ORDER BY relname
"""

#: Migrations that change a table and the view over it, each with the one before.
STEPS = [
    ("0002_worker_zone_data", "0003_tags"),
    ("0003_tags", "0004_flow"),
    ("0005_api_keys", "0006_notices"),
    ("0014_logs", "0015_subject"),
    ("0017_incidents", "0018_history"),
]

WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture(params=STEPS, ids=lambda step: step[1])
def migration_to_come(request, transactional_db):
    """A migration that is not applied yet."""
    before, after = request.param
    MigrationExecutor(current()).migrate([("autotask", before)])
    yield ("autotask", after)
    executor = MigrationExecutor(current())
    executor.migrate(executor.loader.graph.leaf_nodes("autotask"))


@pytest.fixture
def in_thread():
    """Begin a function in a thread; return a function that waits for its end, and returns what it raised."""

    def begin(function):
        errors = []

        def run():
            try:
                function()
            except Exception as error:  # it is looked at below
                errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()

        def end():
            thread.join(20)
            assert not thread.is_alive()
            return errors

        return end

    return begin


def test_pages_that_are_read_while_a_column_is_added_wait_for_it(migration_to_come, other_connection, in_thread):
    # Given: the migration waits for a transaction, and a page for the migration
    def read():
        with contextlib.closing(dedicated("page", lock_timeout=20)) as connection:
            rows(connection.wrapper, "SELECT count(*) FROM autotask_record")

    execute(other_connection, "BEGIN")
    rows(other_connection, "SELECT count(*) FROM autotask_task")
    migration = in_thread(lambda: MigrationExecutor(current()).migrate([migration_to_come]))
    wait_until(lambda: rows(current(), WAITING) == [(1,)], what="the migration waits")
    page = in_thread(read)
    wait_until(lambda: rows(current(), WAITING) == [(2,)], what="the page waits")

    # When
    execute(other_connection, "COMMIT")

    # Then
    assert (migration(), page()) == ([], [])


def test_no_migration_rewrites_the_tables_of_tasks(transactional_db):
    # Given
    executor = MigrationExecutor(current())
    executor.migrate([("autotask", "0001_initial")])
    before = rows(current(), FILES)
    assert len(before) == 3

    # When
    executor = MigrationExecutor(current())
    executor.migrate(executor.loader.graph.leaf_nodes("autotask"))

    # Then
    assert rows(current(), FILES) == before
