"""The options of flow control: what is accepted, what is refused, and which do not go together."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType, OptionWithoutEffect, UnknownOption
from autotask.options import Options
from autotask.tasks import Debounce, Limit, Rate, delayed_task

HERE = "@delayed_task of shop.tasks.sync"
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)


def function(account_id):
    return account_id


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"unique": True}, True),
        ({"unique": False}, None),
        ({"unique": "account_id"}, "account_id"),
        ({"unique": ["a", "b"]}, ("a", "b")),
        ({"unique": function}, function),
        ({"unique_for": "waiting", "unique": True}, "waiting"),
        ({"unique_for": 60, "unique": True}, 60.0),
        ({"unique_for": timedelta(minutes=1), "unique": True}, 60.0),
        ({"on_conflict": "replace", "unique": True}, "replace"),
        ({"concurrency": 2}, Limit(2)),
        ({"concurrency": "openai"}, Limit(name="openai")),
        ({"concurrency": Limit(1, key=["a"])}, Limit(1, key=("a",))),
        ({"when_full": "cancel_running", "concurrency": 1}, "cancel_running"),
        ({"rate": "100/m"}, Rate("100/m")),
        ({"rate": Rate("100/m", burst=5)}, Rate("100/m", burst=5)),
        ({"debounce": 5}, Debounce(5)),
        ({"debounce": timedelta(seconds=5)}, Debounce(5)),
        ({"debounce": Debounce(5, key="a")}, Debounce(5, key="a")),
        ({"debounce": False}, None),
        ({"throttle": "1/10m"}, Rate("1/10m")),
        ({"throttle": False}, None),
    ],
    ids=lambda value: getattr(value, "__name__", None) or re.sub(r"<function (\w+) at [^>]*>", r"\1", str(value)),
)
def test_a_value_is_stored_in_one_form(given, stored):
    (name, *_) = given
    assert getattr(Options.of(HERE, **given), name) == stored


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("unique", 7, "True, the name of a parameter, a list of names, or a function of the arguments"),
        ("unique_for", "ever", '"unfinished", "waiting", a number of seconds or a timedelta'),
        ("unique_for", True, '"unfinished", "waiting", a number of seconds or a timedelta'),
        ("unique_for", 0, "from 0.1 seconds to a century"),
        ("on_conflict", "ignore", '"return" or "raise" or "replace"'),
        ("concurrency", 0, "a whole number from 1 to 10000"),
        ("concurrency", "open ai", "1 to 200 letters, digits and _ . : < > -"),
        ("concurrency", 2.0, "a whole number, a name in AUTOTASK_LIMITS, or a Limit"),
        ("concurrency", True, "a whole number, a name in AUTOTASK_LIMITS, or a Limit"),
        ("when_full", "cancel", '"wait" or "drop" or "cancel_running"'),
        ("rate", "100/fortnight", 'a rate such as "100/m" or "1/10m"'),
        ("rate", 100, 'a rate such as "100/m" or "1/10m"'),
        ("debounce", -1, "from 0 seconds to a century"),
        ("debounce", "5s", "a number of seconds, a timedelta or a Debounce"),
        ("debounce", True, "a number of seconds, a timedelta or a Debounce"),
        ("throttle", "1/week", 'a rate such as "100/m" or "1/10m"'),
    ],
)
def test_a_bad_value_is_refused_with_option_expectation_and_value(name, value, expected):
    with pytest.raises((InvalidOption, InvalidOptionType)) as caught:
        Options.of(HERE, **{name: value})
    assert str(caught.value).startswith(f"The option '{name}' of {HERE} must be {expected}")
    assert f"but is {value!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second", "given"),
    [
        ("unique", "debounce", {"unique": True, "debounce": 5}),
        ("unique", "throttle", {"unique": True, "throttle": "1/s"}),
        ("debounce", "throttle", {"debounce": 5, "throttle": "1/s"}),
        ("debounce", "delay", {"debounce": 5, "delay": 1}),
        ("debounce", "run_after", {"debounce": 5, "run_after": NOW}),
        ('on_conflict="replace"', "unique_for in seconds", {"unique": "a", "unique_for": 5, "on_conflict": "replace"}),
    ],
)
def test_options_that_contradict_each_other_are_refused(first, second, given):
    with pytest.raises(ConflictingOptions) as caught:
        Options.of(HERE, **given)
    assert str(caught.value) == f"{HERE} got both {first!r} and {second!r}: give one of them."


@pytest.mark.parametrize(
    ("option", "needed", "value"),
    [
        ("unique_for", "unique", "waiting"),
        ("unique_for", "unique", 60),
        ("on_conflict", "unique", "raise"),
        ("when_full", "concurrency", "drop"),
    ],
)
def test_an_option_without_the_one_it_needs_is_refused(option, needed, value):
    with pytest.raises(OptionWithoutEffect) as caught:
        Options.of(HERE, **{option: value})
    assert isinstance(caught.value, TypeError)
    assert str(caught.value) == (
        f"{HERE} got the option {option!r}, which has no effect without {needed!r}: give that, too, or remove {option!r}."
    )


def test_all_of_it_together_is_accepted():
    options = Options.of(HERE, unique=True, on_conflict="raise", concurrency=2, when_full="drop", rate="1/s", delay=5)
    assert (options.unique, options.concurrency, options.rate) == (True, Limit(2), Rate("1/s"))


# --- for one call ---------------------------------------------------------------------------------------------------


@delayed_task(name="tests.sync", unique="account_id", unique_for="waiting", on_conflict="raise")
def sync(account_id): ...


@delayed_task(name="tests.index", debounce=Debounce(5, key="document_id"))
def index(document_id): ...


def test_using_switches_uniqueness_off():
    options = sync.using(unique=False).options
    assert (options.unique, options.unique_for, options.on_conflict) == (None, "unfinished", "return")
    assert sync.options.unique == "account_id"


def test_using_changes_what_happens_at_a_conflict():
    options = sync.using(on_conflict="replace").options
    assert (options.unique, options.unique_for, options.on_conflict) == ("account_id", "waiting", "replace")


def test_using_replaces_a_debounce_by_a_moment():
    with pytest.raises(ConflictingOptions, match=r"tests.index.using\(\) got both 'debounce' and 'delay'"):
        index.using(delay=5)
    assert index.using(debounce=False, delay=5).options.delay == 5.0


@pytest.mark.parametrize("option", ["concurrency", "when_full", "rate"])
def test_using_does_not_change_what_workers_share(option):
    with pytest.raises(
        UnknownOption, match=f"'{option}', which is the same for all calls: give it to the decorator. It"
    ):
        sync.using(**{option: 1})
