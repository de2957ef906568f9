import subprocess
import sys

import pytest

from autotask.exceptions import ExtraMissing, InvalidOption, InvalidOptionType, SchemaMismatch
from autotask.options import Options
from autotask.schema import LONGEST_MESSAGE, Schema
from autotask.tasks import cron_task, delayed_task, periodic_task

NUMBER = {"type": "object", "properties": {"n": {"type": "number"}}}


def call(function, *args, name="tests.schema", schema=NUMBER, **kwargs):
    """Make a call of a function with a schema, and return what its errors are."""
    task = delayed_task(name=name, json_schema=schema)(function)
    try:
        task.new_call(args, kwargs)
    except SchemaMismatch as error:
        return error.errors
    return []


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"type": "nmber"}, r"a valid JSON schema \(at type: 'nmber' is not valid .*, but is 'nmber'"),
        ({"properties": {"a": 5}}, r"a valid JSON schema \(at properties.a: 5 is not of type"),
        ({"$schema": "https://example.org/unknown"}, "of a draft that is known"),
        ({"$schema": 7}, "of a draft that is known"),
        ({"items": {"$ref": "#/$defs/row"}}, "whose \\$ref leads to a part of it"),
        ({"$ref": "https://example.org/other"}, "whose \\$ref leads to a part of it"),
    ],
)
def test_a_wrong_schema_is_refused_where_it_is_written(wrong, problem):
    with pytest.raises(InvalidOption, match=f"'json_schema' of @delayed_task of .*<lambda> must be .*{problem}"):
        delayed_task(json_schema=wrong)(lambda params: None)


@pytest.mark.parametrize("wrong", [True, [], "object", {"enum": [object()]}, {"maximum": float("nan")}])
def test_a_schema_is_a_dict_of_what_json_can_hold(wrong):
    with pytest.raises(InvalidOptionType, match="must be a JSON schema: a dict of JSON values"):
        delayed_task(json_schema=wrong)(lambda params: None)


@pytest.mark.parametrize("decorator", [periodic_task(60), cron_task()])
def test_a_task_with_a_timetable_takes_no_schema(decorator):
    where = {periodic_task: periodic_task(60, json_schema=NUMBER), cron_task: cron_task(json_schema=NUMBER)}
    for decorate in where.values():
        with pytest.raises(InvalidOption, match="'json_schema' .* has no arguments"):
            decorate(lambda: None)


def test_the_only_parameter_that_is_called_params_gets_the_object_itself():
    assert call(lambda params: None, {"n": 5}) == []
    assert call(lambda params: None, {"n": "x"}) == [
        {"path": "n", "rule": "type", "message": "'x' is not of type 'number'"}
    ]
    assert call(lambda params: None, params={"n": "x"})[0]["path"] == "n"
    assert call(lambda params: None, [])[0] == {"path": "", "rule": "type", "message": "[] is not of type 'object'"}


def test_for_other_functions_the_schema_describes_the_object_of_their_arguments():
    schema = {**NUMBER, "required": ["n"], "additionalProperties": False}

    def function(n=None, *rest, other=0, **more): ...

    assert call(function, 5, schema=schema) == []
    assert call(function, n=5, schema=schema) == []
    assert [error["rule"] for error in call(function, schema=schema)] == ["required"]
    assert [error["path"] for error in call(function, "x", schema=schema)] == ["n"]
    assert "'rest'" in call(function, 5, 6, schema=schema)[0]["message"]
    assert "'odd'" in call(function, 5, odd=1, schema=schema)[0]["message"]


def test_defaults_are_not_checked_since_nobody_has_given_them():
    assert call(lambda n=None: None) == []


def test_errors_name_path_rule_and_message_of_all_that_is_wrong():
    rows = {"type": "array", "items": {"properties": {"price": {"minimum": 0}}, "required": ["id"]}}
    errors = call(lambda params: None, {"rows": [{"price": -1}]}, schema={"properties": {"rows": rows}})
    assert {(error["path"], error["rule"]) for error in errors} == {
        ("rows[0].price", "minimum"),
        ("rows[0]", "required"),
    }


def test_the_exception_names_the_task_and_the_first_error():
    task = delayed_task(name="tests.schema", json_schema={"required": ["a", "b"]})(lambda params: None)
    problem = r"The arguments of tests\.schema do not fit: 'a' is a required property \(and 1 more\)\. Nothing was"
    with pytest.raises(TypeError, match=problem):
        task.new_call(({},), {})


def test_arguments_that_do_not_fit_the_function_are_still_type_errors_of_its_signature():
    with pytest.raises(TypeError, match="missing a required argument") as caught:
        call(lambda params: None)
    assert not isinstance(caught.value, SchemaMismatch)


@pytest.mark.parametrize(
    ("format", "wrong", "right"),
    [
        ("date", "2026-02-30", "2026-02-28"),
        ("date-time", "yesterday", "2026-02-28T10:00:00Z"),
        ("email", "nobody", "a@example.org"),
        ("iri", "//kein Iri", "https://straße.example/größe?farbe=grün#weiß"),
        ("iri", "/größe", "https://straße.example:80/\U00020000?\ue000"),
        ("iri", "https://example.org/\ue000", "https://example.org/?\ue000"),
        ("iri", "größe://example.org/", "groesse://example.org/"),
        ("iri-reference", "/grö ße", "/größe"),
        ("iri-reference", "größe:groß", "größe/groß"),
        ("iri-reference", "/\ufdd0", "/\ufdf0"),
        ("uri", "no uri", "https://example.org/"),
        ("uuid", "123", "6f3c8a30-0a4b-4c57-9ab0-8f1c41d1a001"),
    ],
)
def test_formats_are_checked(format, wrong, right):
    schema = {"properties": {"it": {"format": format}}}
    assert call(lambda it: None, right, schema=schema) == []
    assert [error["rule"] for error in call(lambda it: None, wrong, schema=schema)] == ["format"]


def test_a_format_that_came_after_a_draft_says_nothing_in_it():
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"it": {"format": "iri"}}}
    assert call(lambda it: None, "no iri", schema=draft4) == []


def test_no_process_pays_for_the_import_of_a_grammar():
    missing = "import sys; sys.modules['rfc3987_syntax'] = None"  # Where it is installed, jsonschema imports it.
    code = f"{missing}; from autotask.schema import Schema; Schema({{'type': 'string'}}, 'a test'); print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_tuple_is_an_array_and_an_older_draft_has_its_own_rules():
    assert call(lambda it: None, (1, 2), schema={"properties": {"it": {"type": "array"}}}) == []
    draft4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}
    assert [error["rule"] for error in Schema(draft4, "a test").errors(3)] == ["maximum"]


def test_a_reference_within_the_schema_is_followed():
    schema = {"properties": {"n": {"$ref": "#/$defs/small"}}, "$defs": {"small": {"maximum": 3}}}
    assert [error["path"] for error in call(lambda n: None, 4, schema=schema)] == ["n"]


def test_a_value_that_cannot_be_checked_does_not_fit():
    errors = Schema({"multipleOf": 0.5}, "a test").errors(10**400)
    assert "it cannot be checked: OverflowError" in errors[0]["message"]


def test_messages_and_lists_of_errors_have_an_end():
    errors = Schema({"items": {"type": "number"}}, "a test").errors(["x" * 1000] * 1000)
    assert len(errors) == 50
    assert max(len(error["message"]) for error in errors) == LONGEST_MESSAGE


def test_a_schema_is_made_ready_once_and_what_changes_later_does_not_count():
    document = {"required": ["a"]}
    task = delayed_task(name="tests.schema", json_schema=document)(lambda params: None)
    document.clear()
    assert task.schema == {"required": ["a"]}
    assert task.using(priority=5).options.json_schema is task.options.json_schema


def test_one_wrong_item_of_many_is_named_by_its_index():
    task = delayed_task(name="tests.schema", json_schema=NUMBER)(lambda params: None)
    with pytest.raises(SchemaMismatch, match=r"^Item 1 of tests\.schema\.enqueue_many\(\): .*'x'") as caught:
        task.enqueue_many([({"n": 1},), ({"n": "x"},)])
    assert caught.value.errors[0]["path"] == "n"


def test_an_empty_schema_accepts_everything_and_needs_no_other_package():
    program = """
import sys
from autotask.options import Options
sys.modules["jsonschema"] = None
assert Options.of("a test", json_schema={}).json_schema.errors(object()) == []
Options.of("@delayed_task of shop.tasks.report", json_schema={"type": "object"})
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    expected = "ExtraMissing: The option 'json_schema' of @delayed_task of shop.tasks.report needs a package"
    assert expected in ran.stderr and 'pip install "autotask[schema]"' in ran.stderr


def test_tasks_without_a_schema_import_nothing_for_it():
    program = "import sys; from autotask.options import Options; Options.of('a test', retries=3); print('jsonschema' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "False"


def test_the_missing_package_is_an_import_error():
    assert issubclass(ExtraMissing, ImportError)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_api_is_true_or_false(value):
    if value is None:
        assert Options.of("a test", api=value).api is False
        return
    with pytest.raises(InvalidOptionType, match="'api' of a test must be True or False"):
        Options.of("a test", api=value)
