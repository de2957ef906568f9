"""Completes tables that were made without migrations, as by ``pytest --nomigrations``."""

import importlib
import pkgutil
from typing import Any

from django.db import connections
from django.db.migrations import RunSQL
from django.db.migrations.state import ProjectState

from autotask import migrations
from autotask.store import tables


def complete(using: str, **_: Any) -> None:
    """Make the sequence, the view and the storage parameters if the tables lack them: a receiver of post_migrate.

    :param using: the alias of the database.
    """
    connection = connections[using]
    if connection.vendor != "postgresql" or not tables.are_without_sequence(connection):
        return
    with connection.schema_editor() as editor:
        for module in sorted(module.name for module in pkgutil.iter_modules(migrations.__path__)):
            migration = importlib.import_module(f"{migrations.__name__}.{module}").Migration
            for operation in migration.operations:
                if isinstance(operation, RunSQL):
                    operation.database_forwards("autotask", editor, ProjectState(), ProjectState())
