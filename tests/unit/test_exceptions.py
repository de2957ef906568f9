"""Messages that say what was expected, what came and what to do; and exceptions that travel between processes."""

import inspect
import pickle
import string
import subprocess
import sys

import pytest

from autotask import exceptions
from autotask.exceptions import AutotaskError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(exceptions, inspect.isclass)
    if issubclass(cls, AutotaskError) and cls is not AutotaskError
]

#: They tell of something that is missing, or that just is so.
WITHOUT_FACTS = {exceptions.NoSettingsModule, exceptions.RunInTransaction}


def fields(cls):
    """Return the facts that the message of an exception names, each with a value that its format accepts."""
    names = [(name, spec) for _, name, spec, _ in string.Formatter().parse(inspect.cleandoc(cls.__doc__)) if name]
    return {name: 1.5 if spec else f"<{name}>" for name, spec in names}


def test_there_are_exceptions_to_look_at():
    assert len(CLASSES) > 15


@pytest.mark.parametrize("cls", CLASSES)
def test_the_message_is_one_line_that_holds_every_fact(cls):
    # Given
    facts = fields(cls)
    assert facts or cls in WITHOUT_FACTS, "a message without facts helps nobody"

    # When
    error = cls(**facts)

    # Then
    assert "\n" not in str(error)
    assert "  " not in str(error)
    assert "{" not in str(error)
    for value in facts.values():
        assert str(value) in str(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_facts_are_attributes(cls):
    error = cls(**fields(cls))
    assert {name: getattr(error, name) for name in fields(cls)} == fields(cls)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_exception_survives_pickling(cls):
    # Given
    error = cls(**fields(cls))

    # When
    again = pickle.loads(pickle.dumps(error))

    # Then
    assert type(again) is cls
    assert str(again) == str(error)
    assert again.facts == error.facts
    assert again.args == error.args


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_can_say_where_it_came_up(cls):
    # When
    error = cls(**fields(cls)).within("Item 3 of {here}")

    # Then
    assert type(error) is cls
    assert str(error) == f"Item 3 of {{here}}: {cls(**fields(cls))}"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("value", ["{", "}", "{0}", "{where}", "%s", "{value.__class__}", "\n\0"])
def test_a_fact_that_looks_like_a_template_is_shown_as_it_is(value):
    error = exceptions.InvalidOption(option="queue", where="{here}", expected="{x}", value=value)
    assert str(error) == f"The option 'queue' of {{here}} must be {{x}}, but is {value!r}."


def test_all_are_of_one_family():
    assert all(issubclass(cls, AutotaskError) for cls in CLASSES)


@pytest.mark.parametrize(
    ("cls", "kind"),
    [
        (exceptions.UnknownOption, TypeError),
        (exceptions.InvalidOptionType, TypeError),
        (exceptions.ConflictingOptions, TypeError),
        (exceptions.UnpicklableArgument, TypeError),
        (exceptions.UnpicklableResult, TypeError),
        (exceptions.InvalidArguments, TypeError),
        (exceptions.InvalidOption, ValueError),
        (exceptions.InvalidSchedule, ValueError),
        (exceptions.InvalidSetting, ValueError),
        (exceptions.PayloadTooLarge, ValueError),
        (exceptions.TaskExpired, LookupError),
        (exceptions.UnknownTask, LookupError),
        (exceptions.WaitTimeout, TimeoutError),
        (exceptions.PayloadTooNew, exceptions.PayloadRefused),
    ],
)
def test_an_exception_is_also_what_python_calls_it(cls, kind):
    assert issubclass(cls, kind)


def test_a_subclass_of_a_user_without_docstring_can_be_raised():
    class Own(AutotaskError):
        pass

    assert str(Own(reason="tired")) == "Own: {'reason': 'tired'}"


WITHOUT_DOCSTRINGS = """
import pickle
from autotask import exceptions
assert exceptions.TaskFailed.__doc__ is None, "this Python keeps its docstrings"
error = exceptions.InvalidOption(option="delay", where="@delayed_task of shop.tasks.f", expected="a number", value=-1)
assert isinstance(error, ValueError)
assert str(pickle.loads(pickle.dumps(error))) == str(error)
print(error)
from autotask.options import Options
try:
    Options.of("@delayed_task of shop.tasks.f", retires=3)
except TypeError as error:
    print(error)
"""


def test_without_docstrings_the_facts_are_still_told():
    # When
    done = subprocess.run([sys.executable, "-OO", "-c", WITHOUT_DOCSTRINGS], capture_output=True, text=True, timeout=60)

    # Then
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    for fact in ("InvalidOption", "delay", "shop.tasks.f", "a number", "-1"):
        assert fact in first
    for fact in ("UnknownOption", "retires", "did you mean 'retries'?"):
        assert fact in second
