"""The one list of columns, and what must keep in step with it: models, records, options and statements."""

import re
from dataclasses import MISSING, fields
from typing import get_args, get_type_hints

import pytest

from autotask.models import Result, Task, TaskRecord
from autotask.options import Options
from autotask.store import cancel, columns, ends, enqueue, rescue
from autotask.store.columns import CARRIED, COMMON, KEPT, Carried
from autotask.store.read import ENDED, LIVE, StoredTask
from autotask.task import ClaimedTask

TYPES = {
    "TextField": "text",
    "SmallIntegerField": "smallint",
    "IntegerField": "int",
    "FloatField": "float8",
    "BooleanField": "boolean",
    "DateTimeField": "timestamptz",
    "NamesField": "text[]",
    "JSONField": "jsonb",
}


def names(model):
    return {field.name for field in model._meta.get_fields()}


def test_the_models_of_both_tables_share_what_the_list_says():
    assert set(COMMON) == names(Task) & names(Result)


def test_the_view_over_both_tables_has_what_a_call_says():
    assert set(CARRIED) <= names(TaskRecord)


@pytest.mark.parametrize("name", CARRIED)
def test_a_column_is_of_the_type_that_the_list_says(name):
    assert {TYPES[model._meta.get_field(name).get_internal_type()] for model in (Task, Result, TaskRecord)} == {
        CARRIED[name].type
    }


@pytest.mark.parametrize("field", fields(Carried), ids=lambda field: field.name)
def test_a_column_that_a_plain_call_leaves_out_gets_the_default_of_the_list(field):
    column = Task._meta.get_field(field.name)

    if field.default is MISSING:
        assert not column.null and not column.has_db_default()
        assert field.name in enqueue.NOW and field.name in enqueue.CLAIMED
    elif field.default is None:
        assert column.null
    else:
        assert column.db_default == field.default


@pytest.mark.parametrize("name", CARRIED)
def test_a_record_holds_none_where_a_column_may_be_empty(name):
    assert (type(None) in get_args(get_type_hints(Carried)[name])) is Task._meta.get_field(name).null


def test_the_record_of_a_claim_has_the_types_of_the_list():
    claimed, carried = get_type_hints(ClaimedTask), get_type_hints(Carried)

    assert {name: claimed[name] for name in claimed.keys() & carried.keys()} == {
        name: carried[name] for name in claimed.keys() & carried.keys()
    }
    assert ClaimedTask._fields[-3:] == ("worker_id", "reply", "row")  # which the claim does not read


def test_options_are_stored_under_their_names():
    of_calls = {"schedule", "scheduled_for", "name", "expires_at"}

    assert set(enqueue.STATED) - of_calls <= {field.name for field in fields(Options)}


@pytest.mark.parametrize(
    "statement", [cancel.kept("gone"), ends.END, ends.END_ONE_QUIETLY, ends.END_LAST, rescue.RESCUE]
)
def test_an_end_moves_all_columns(statement):
    table = re.search(r"INSERT INTO autotask_result \((.*)\)", statement)

    assert set(COMMON) | {"ended_at", "kept_until"} <= set(table[1].split(", "))


def test_a_retry_forgets_what_the_attempts_left():
    assert set(COMMON) - set(KEPT) == {
        *("state", "run_at", "started_at", "failures", "lost", "progress_done", "progress_total")
    }


def test_a_statement_has_each_value_in_the_place_of_its_column():
    sql = columns.insert("shelf", "box b", ("book", "page"), page="b.leaf + 1", added="now()")

    assert sql == "INSERT INTO shelf (book, page, added)\nSELECT book, b.leaf + 1, now()\nFROM box b"


@pytest.mark.parametrize("select", [LIVE, ENDED])
def test_reading_selects_as_many_columns_as_the_record_has_fields(select):
    assert len(re.split(r", (?![^(]*\))", select)) == len(fields(StoredTask))


def test_a_condition_on_names_looks_among_them():
    assert columns.condition("queue") == "queue = %(queue)s::text"
    assert columns.condition("tags") == "%(tags)s::text = ANY(tags)"


def test_a_condition_on_a_column_that_is_not_in_the_list_is_refused():
    with pytest.raises(KeyError, match="payload"):
        columns.condition("payload")
