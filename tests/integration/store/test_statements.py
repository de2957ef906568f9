"""The statements of store/ against the tables: every column exists, and none that needs a value is forgotten."""

import importlib
import pkgutil
import re

import pytest
from django.apps import apps
from django.db import models

from autotask import store
from autotask.store.connection import current, rows

#: The bytes to which PostgreSQL aligns columns.
ALIGNED = {"c": 1, "s": 2, "i": 4, "d": 8}

INSERT = re.compile(r"INSERT INTO (autotask_\w+) \(([^)]*)\)")

MODULES = [name for _, name, _ in pkgutil.iter_modules(store.__path__)]
#: The pages of the dashboard are a model without a table.
TABLES = {
    model._meta.db_table: model
    for model in apps.get_app_config("autotask").get_models()
    if model.__name__ != "Dashboard"
}


def inserts():
    """Return every INSERT of every statement: module, constant, table and columns."""
    for module in MODULES:
        for constant, value in vars(importlib.import_module(f"autotask.store.{module}")).items():
            if isinstance(value, str) and constant.isupper():
                for table, columns in INSERT.findall(value):
                    yield module, constant, table, [column.strip() for column in columns.split(",")]


INSERTS = sorted({(m, c, t, tuple(columns)) for m, c, t, columns in inserts()})


def test_there_are_statements_to_look_at():
    assert {module for module, *_ in INSERTS} >= {
        "enqueue",
        "ends",
        "cancel",
        "requeue",
        "rescue",
        "schedules",
        "workers",
    }


@pytest.mark.parametrize(("module", "constant", "table", "columns"), INSERTS, ids=lambda value: str(value)[:20])
def test_an_insert_names_existing_columns_once_and_all_that_need_a_value(module, constant, table, columns):
    fields = {f.column: f for f in TABLES[table]._meta.get_fields() if isinstance(f, models.Field) and f.column}
    assert set(columns) <= set(fields)
    assert len(set(columns)) == len(columns)
    needed = {
        name
        for name, field in fields.items()
        if not field.null and not field.has_db_default() and not isinstance(field, models.AutoField)
    }
    assert needed <= set(columns)


@pytest.mark.parametrize("table", ["autotask_task", "autotask_result"])
def test_whatever_a_task_carries_is_carried_on_into_the_other_table(table):
    # Of one that moves, nothing may be lost on the way, but for what starts anew
    anew = {"worker_id", "fence"}
    if table == "autotask_task":
        anew |= {"failures", "lost", "started_at", "progress_done", "progress_total"}
    shared = {field.column for field in TABLES["autotask_task"]._meta.get_fields()} & {
        field.column for field in TABLES["autotask_result"]._meta.get_fields()
    }
    moving = [
        columns
        for module, _, name, columns in INSERTS
        if name == table and module in ("ends", "cancel", "requeue", "rescue")
    ]
    assert moving
    for columns in moving:
        assert shared - anew <= set(columns)


@pytest.mark.django_db
@pytest.mark.parametrize("table", sorted(TABLES))
def test_models_and_tables_have_the_same_columns(table):
    found = rows(
        current(),
        "SELECT column_name FROM information_schema.columns WHERE table_name = %(table)s AND table_schema = 'public'",
        {"table": table},
    )
    fields = TABLES[table]._meta.get_fields()
    assert {name for (name,) in found} == {
        field.column for field in fields if isinstance(field, models.Field) and field.column
    }


@pytest.mark.django_db
def test_what_the_storage_parameters_are_for_is_not_lost():
    ((options,),) = rows(current(), "SELECT reloptions FROM pg_class WHERE oid = 'autotask_task'::regclass")
    assert "autovacuum_vacuum_scale_factor=0" in options
    assert "vacuum_index_cleanup=on" in options


@pytest.mark.django_db
@pytest.mark.parametrize("table", ["autotask_task", "autotask_ready", "autotask_result"])
def test_no_byte_is_lost_between_the_columns_that_every_row_has(table):
    # Given
    found = rows(
        current(),
        "SELECT attname, attlen, attalign, attnotnull FROM pg_attribute "
        "WHERE attrelid = %(table)s::regclass AND attnum > 0 ORDER BY attnum",
        {"table": table},
    )
    widths = [(size, ALIGNED[align]) for _, size, align, _ in found]
    fixed = next(number for number, (size, _) in enumerate(widths) if size < 0)

    # Then
    assert not [name for name, size, _, is_needed in found[fixed:] if size > 0 and is_needed]
    assert [sum(size for size, _ in widths[:number]) % align for number, (_, align) in enumerate(widths[:fixed])] == (
        [0] * fixed
    )
