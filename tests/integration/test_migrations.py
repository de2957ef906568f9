"""Migrations are applied while the site is running."""

import contextlib
import threading

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from autotask.store.connection import current, dedicated, execute, rows
from tests.helpers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

WITHOUT_TAGS = ("autotask", "0002_worker_zone_data")
WITH_TAGS = ("autotask", "0003_tags")

WAITING = """
SELECT count(*) FROM pg_locks
WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def without_tags(transactional_db):
    MigrationExecutor(current()).migrate([WITHOUT_TAGS])
    yield
    MigrationExecutor(current()).migrate([WITH_TAGS])


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


def test_pages_that_are_read_while_tags_are_added_wait_for_them(without_tags, other_connection, in_thread):
    # Given: the migration waits for a transaction, and a page for the migration
    def read():
        with contextlib.closing(dedicated("page", lock_timeout=20)) as connection:
            rows(connection.wrapper, "SELECT count(*) FROM autotask_record")

    execute(other_connection, "BEGIN")
    rows(other_connection, "SELECT count(*) FROM autotask_task")
    migration = in_thread(lambda: MigrationExecutor(current()).migrate([WITH_TAGS]))
    wait_until(lambda: rows(current(), WAITING) == [(1,)], what="the migration waits")
    page = in_thread(read)
    wait_until(lambda: rows(current(), WAITING) == [(2,)], what="the page waits")

    # When
    execute(other_connection, "COMMIT")

    # Then
    assert (migration(), page()) == ([], [])
