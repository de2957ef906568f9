import inspect

import pytest

from autotask.exceptions import SchemaMismatch
from autotask.parameters import Parameters


def parameters(function):
    return Parameters(inspect.signature(function))


def refused(function, given):
    """Return path and rule of each error."""
    with pytest.raises(SchemaMismatch) as caught:
        parameters(function).from_object(given, "a.task")
    return [(error["path"], error["rule"]) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda a, b=2: None, {"a": 1}),
        (lambda a, *, b: None, {"a": 1, "b": 2}),
        (lambda a, /, b=2: None, {"a": 1}),
        (lambda a=1, b=2, /: None, {"b": 5}),
        (lambda *rows: None, {"rows": [1, 2]}),
        (lambda a, *rows, b=1, **more: None, {"a": 0, "rows": [1], "b": 2, "other": 3}),
        (lambda **more: None, {"x": 1}),
        (lambda: None, {}),
        (lambda params: None, {"n": 1}),
        (lambda params: None, [1, 2]),
    ],
)
def test_an_object_becomes_the_arguments_of_a_call_and_back(function, given):
    one = parameters(function)
    args, kwargs = one.from_object(given, "a.task")
    function(*args, **kwargs)
    found = one.as_object(args, kwargs)
    if isinstance(given, dict):
        # Arguments by position need those before them, too, which are defaults.
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
        assert given.items() <= found.items()
    else:
        assert found == given


def test_unknown_and_missing_parameters_are_named():
    assert refused(lambda city, day: None, {"bogus": 1, "city": "Oslo"}) == [
        ("bogus", "additionalProperties"),
        ("day", "required"),
    ]


def test_what_is_no_object_is_refused():
    for given in ([], "text", None, 5):
        assert refused(lambda city: None, given) == [("", "type")]


def test_parameters_of_any_number_take_an_array():
    assert refused(lambda *rows: None, {"rows": "abc"}) == [("rows", "type")]


def test_only_a_single_parameter_takes_the_whole_object():
    assert parameters(lambda params: None).are_whole
    assert parameters(lambda *, params=None: None).are_whole
    assert not parameters(lambda params, other=1: None).are_whole
    assert not parameters(lambda *params: None).are_whole
    assert not parameters(lambda **params: None).are_whole
