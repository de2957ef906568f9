import inspect
import uuid
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, Optional, TypedDict

import jsonschema
import pytest

from autotask import hints
from autotask.tasks import delayed_task


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Row(TypedDict, total=False):
    price: float
    rows: "list[Row]"


def schema(function):
    made = hints.schema(inspect.signature(function), function)
    jsonschema.Draft202012Validator.check_schema(made)
    return made


def of(hint):
    """Return the schema of a parameter with this hint."""

    def function(it): ...

    function.__annotations__["it"] = hint
    return schema(function)["properties"]["it"]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (int, {"type": "integer"}),
        (Optional[int], {"type": ["integer", "null"]}),  # noqa: UP045 - both ways of writing it
        (int | str, {"type": ["integer", "string"]}),
        (list[int] | None, {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}),
        (Sequence[str], {"type": "array", "items": {"type": "string"}}),
        (list, {"type": "array"}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (dict, {"type": "object"}),
        (set[int], {"type": "array", "uniqueItems": True, "items": {"type": "integer"}}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
        ),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Colour, {"enum": ["red", "blue"]}),
        (date, {"type": "string", "format": "date"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Decimal, {"type": "string"}),
        (Any, {}),
        (int | Any, {}),
        (object, {}),
        (bytes, {}),
        (Exception, {}),
    ],
)
def test_a_type_becomes_a_schema_if_json_knows_it(hint, expected):
    assert of(hint) == expected


def test_a_type_that_refers_to_itself_has_an_end():
    made = of(Row)
    assert made["properties"]["price"] == {"type": "number"}
    assert made["properties"]["rows"]["items"]["properties"]["price"] == {"type": "number"}


def test_parameters_become_properties_with_defaults_and_those_without_are_required():
    def function(city: str, day: "date", days: int = 7, *, tags: list[str] = (), **more: int): ...

    assert schema(function) == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "days": {"type": "integer", "default": 7},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": {"type": "integer"},
        "required": ["city", "day"],
    }


def test_a_function_of_params_takes_any_object():
    assert schema(lambda params: None) == {"type": "object"}


def test_hints_that_only_type_checkers_can_read_allow_any_value():
    def function(it: "NoSuchName"): ...  # noqa: F821

    assert schema(function)["properties"] == {"it": {}}


def test_a_definition_has_its_own_schema_or_one_made_of_its_hints():
    def function(context, city: str): ...

    assert delayed_task(name="tests.hints", json_schema={"maxProperties": 9})(function).schema == {"maxProperties": 9}
    made = delayed_task(name="tests.hints", takes_context=True)(function).schema
    assert made["properties"] == {"city": {"type": "string"}}
