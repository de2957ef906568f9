"""Whether the tables are there."""

import pytest
from django.db import transaction
from django.db.migrations.executor import MigrationExecutor

from autotask.store import tables
from autotask.store.connection import current, execute

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_tables_are_there():
    assert tables.are_there(current()) is True


def test_the_tables_are_not_there_before_the_last_migration_that_gives_tasks_a_column():
    # Given
    last = MigrationExecutor(current()).loader.graph.leaf_nodes("autotask")[0]

    # When
    MigrationExecutor(current()).migrate([("autotask", None)])

    # Then
    try:
        assert tables.are_there(current()) is False
    finally:
        MigrationExecutor(current()).migrate([last])
    assert tables.are_there(current()) is True


@pytest.mark.parametrize("table", ["autotask_task", "autotask_result"])
def test_tables_of_older_code_are_not_enough(table):
    with transaction.atomic():
        execute(current(), f"ALTER TABLE {table} RENAME COLUMN tags TO something")
        assert tables.are_there(current()) is False
        transaction.set_rollback(True)
