"""Bad options fail where they are written, with option, expectation and value in the message."""

import datetime
import decimal
import math
import re

import pytest

from autotask.exceptions import ConflictingOptions, InvalidOption, InvalidOptionType, UnknownOption, UnsuitableFunction
from autotask.options import (
    CALL_OPTION_NAMES,
    DEFINITION_OPTION_NAMES,
    DJANGO_TASK_OPTION_NAMES,
    MOST_RETRIES,
    OPTION_NAMES,
    CallOptions,
    DefinitionOptions,
    DjangoTaskOptions,
    Options,
)
from autotask.task import LONGEST_TIME
from autotask.tasks import cron_task, delayed_task, periodic_task
from tests.documents import ROOT

HERE = "@delayed_task of shop.tasks.send"
NOW = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)


def noop(*_):
    return None


# --- what is accepted -----------------------------------------------------------------------------------------------


def test_without_options_the_defaults_are_those_of_the_documentation():
    assert Options.of(HERE) == Options(
        queue="default",
        priority=0,
        delay=0.0,
        run_after=None,
        retries=0,
        backoff=None,
        retry_on=None,
        no_retry_on=(),
        ttl=None,
    )


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"delay": 0}, 0.0),
        ({"delay": 1.5}, 1.5),
        ({"delay": datetime.timedelta(minutes=2)}, 120.0),
        ({"delay": LONGEST_TIME}, float(LONGEST_TIME)),
        ({"ttl": 0}, 0.0),
        ({"ttl": datetime.timedelta(days=1)}, 86400.0),
        ({"retries": 0}, 0),
        ({"retries": MOST_RETRIES}, MOST_RETRIES),
        ({"priority": -100}, -100),
        ({"priority": 100}, 100),
        ({"queue": "a"}, "a"),
        ({"queue": "Große-Post.2:x_y"}, "Große-Post.2:x_y"),
        ({"queue": "q" * 200}, "q" * 200),
        ({"backoff": "exponential"}, "exponential"),
        ({"backoff": 5}, 5.0),
        ({"backoff": datetime.timedelta(seconds=5)}, 5.0),
        ({"backoff": [1, datetime.timedelta(seconds=2), 3.5]}, (1.0, 2.0, 3.5)),
        ({"backoff": noop}, noop),
        ({"retry_on": OSError}, (OSError,)),
        ({"retry_on": (OSError, KeyError)}, (OSError, KeyError)),
        ({"retry_on": [OSError]}, (OSError,)),
        ({"no_retry_on": {ValueError}}, (ValueError,)),
        ({"run_after": NOW}, NOW),
        ({"expires": 60}, 60.0),
        ({"expires": datetime.timedelta(minutes=1)}, 60.0),
        ({"expires": NOW}, NOW),
        ({"takes_context": True}, True),
        ({"atomic": True}, True),
        ({"at_most_once": True}, True),
        ({"timeout": datetime.timedelta(minutes=1)}, 60.0),
        ({"executor": "process"}, "process"),
        ({"tags": ("eu", "billing", "eu")}, ["eu", "billing"]),
        ({"tags": []}, None),
        ({"metadata": {"a": (1, None), "b": "é"}}, {"a": [1, None], "b": "é"}),
        ({"metadata": {}}, None),
    ],
)
def test_a_good_value_is_taken(given, stored):
    (name,) = given
    value = getattr(Options.of(HERE, **given), name)
    assert value == stored
    assert type(value) is type(stored)


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_none_means_the_default(name):
    assert Options.of(HERE, **{name: None}) == Options()


def test_a_delay_replaces_a_moment_and_a_moment_wins_over_an_inherited_delay():
    with_moment = Options.of(HERE, run_after=NOW)
    assert with_moment.replace(HERE, delay=3) == Options(delay=3.0)
    later = Options.of(HERE, delay=3).replace(HERE, run_after=NOW)
    assert later.run_after == NOW


def test_options_do_not_change():
    with pytest.raises(AttributeError):
        Options().delay = 5


# --- what is refused ------------------------------------------------------------------------------------------------

WRONG_TYPES = [
    *[(name, value) for name in ("delay", "ttl") for value in ("5", True, False, [1], (), {}, b"1", 1j, noop, NOW)],
    *[(name, decimal.Decimal(5)) for name in ("delay", "ttl")],
    *[(name, value) for name in ("retries", "priority") for value in ("3", 3.0, True, False, [3], math.nan, noop)],
    *[("queue", value) for value in (1, b"default", ["default"], True, noop)],
    *[("expires", value) for value in ("5", True, [1], (), {}, b"1", noop, datetime.date(2026, 7, 1))],
    *[("timeout", value) for value in ("5", True, noop)],
    *[("executor", value) for value in (5, True, b"process")],
    *[("tags", value) for value in ("billing", {"billing"}, 5, {"billing": 1}, ["billing", 5], [None], [b"billing"])],
    *[("subject", value) for value in ("shop.order:42", 42, {"id": 42}, noop)],
    *[("metadata", value) for value in ("{}", [1], 5, {1: "a"}, {"a"})],
    *[(name, value) for name in ("takes_context", "atomic", "at_most_once") for value in (1, 0, "yes", [], noop)],
    *[("run_after", value) for value in (5, "2026-07-01", datetime.date(2026, 7, 1), datetime.timedelta(1), True)],
]

WRONG_VALUES = [
    *[("tags", value) for value in ([""], ["a b"], ["a,b"], ["x" * 201], [str(number) for number in range(21)])],
    *[("metadata", {"a": value}) for value in ("x" * 4096, math.nan, noop, "\0", "a\\\0", "\ud800", {NOW})],
    *[("on_missing", value) for value in ("", "Error", "skip", True, 5, b"error", ["retry"])],
    ("expires", datetime.datetime(2026, 7, 1)),
    *[
        (name, value)
        for name in ("delay", "ttl", "expires")
        for value in (
            -1,
            -0.001,
            math.nan,
            math.inf,
            -math.inf,
            LONGEST_TIME + 1,
            10**400,
            datetime.timedelta(seconds=-1),
            datetime.timedelta.max,
        )
    ],
    *[("timeout", value) for value in (0, 0.09, -1, math.inf, math.nan)],
    *[("executor", value) for value in ("coroutine", "", "a b")],
    *[("retries", value) for value in (-1, MOST_RETRIES + 1, 10**30)],
    *[("priority", value) for value in (-101, 101, 2**15, -(10**30))],
    *[
        ("queue", value)
        for value in ("", " ", "a b", "-a", ".a", "a,b", "a\n", "a\0", "a/b", "a;b", "ä'", 'a"', "q" * 201, "\n", "a%")
    ],
    ("run_after", datetime.datetime(2026, 7, 1)),
    *[("backoff", value) for value in ("linear", "", (), [], {}, True, {1, 2}, b"x", NOW)],
    *[("backoff", value) for value in (-1, math.nan, math.inf, [1, -1], [math.nan])],
    *[
        (name, value)
        for name in ("retry_on", "no_retry_on")
        for value in (5, "ValueError", ValueError(), int, [int], [ValueError, "x"], {"a": 1}, True, noop)
    ],
]


def shown(values):
    # Without addresses: test processes that run side by side have to agree on the names of the tests.
    return [f"{name}={repr(value).partition(' at 0x')[0][:40]}" for name, value in values]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES, ids=shown(WRONG_TYPES))
def test_a_value_of_a_wrong_type_is_a_type_error_that_names_option_place_and_value(name, value):
    with pytest.raises(InvalidOptionType) as caught:
        Options.of(HERE, **{name: value})
    assert isinstance(caught.value, TypeError)
    for told in (repr(name), HERE, "must be ", repr(value), f"(of type {type(value).__name__})"):
        assert told in str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES, ids=shown(WRONG_VALUES))
def test_a_value_out_of_range_is_a_value_error_that_names_option_place_and_value(name, value):
    with pytest.raises(InvalidOption) as caught:
        Options.of(HERE, **{name: value})
    assert isinstance(caught.value, ValueError)
    assert repr(name) in str(caught.value)
    assert HERE in str(caught.value)
    assert f"must be {caught.value.expected}, but is {caught.value.value!r}" in str(caught.value)


async def awaited(exception, attempt):
    return 1.0


def generated(exception, attempt):
    yield 1.0


class Awaited:
    async def __call__(self, exception, attempt):
        return 1.0


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (awaited, "a plain function, not a coroutine"),
        (Awaited(), "a plain function, not a coroutine"),
        (generated, "a plain function, not a generator"),
        (lambda: 1, "a function that takes the exception and the number of the attempt"),
        (lambda exception: 1, "a function that takes the exception and the number of the attempt"),
        (lambda exception, attempt, more: 1, "a function that takes the exception and the number of the attempt"),
    ],
)
def test_a_function_for_backoff_that_no_failure_could_call_is_refused_where_it_is_written(backoff, expected):
    with pytest.raises(InvalidOption) as caught:
        Options.of(HERE, backoff=backoff)
    assert str(caught.value) == f"The option 'backoff' of {HERE} must be {expected}, but is {backoff!r}."


@pytest.mark.parametrize("backoff", [lambda *args: 1, lambda exception, attempt=1, more=2: 1, min])
def test_a_function_for_backoff_may_take_more_or_not_say_what_it_takes(backoff):
    assert Options.of(HERE, backoff=backoff).backoff is backoff


@pytest.mark.parametrize("value", ["x", None, [1]])
def test_an_item_of_a_list_of_delays_is_checked_too(value):
    with pytest.raises(InvalidOptionType, match=r"'backoff' of .* must be a number of seconds"):
        Options.of(HERE, backoff=[1, value])


class Unfriendly:
    """What can be neither compared nor asked for its truth."""

    def __eq__(self, other):
        raise RuntimeError("not comparable")

    def __bool__(self):
        raise RuntimeError("neither true nor false")

    __hash__ = None


@pytest.mark.parametrize("name", OPTION_NAMES)
def test_a_value_that_cannot_be_compared_is_refused_like_any_other(name):
    with pytest.raises((InvalidOption, InvalidOptionType), match=f"The option '{name}' of"):
        Options.of(HERE, **{name: Unfriendly()})


def test_one_tag_without_a_list_is_answered_with_an_example():
    with pytest.raises(
        InvalidOptionType,
        match=rf"^The option 'tags' of {HERE} must be a list of names, such as \[\"billing\", \"eu\"\], but is 'billing'",
    ):
        Options.of(HERE, tags="billing")


def test_metadata_holds_what_only_looks_like_a_nul():
    assert Options.of(HERE, metadata={"a": r"\u0000"}).metadata == {"a": r"\u0000"}


def test_metadata_is_a_copy():
    given = {"a": [1]}
    options = Options.of(HERE, metadata=given)
    given["a"].append(2)
    assert options.metadata == {"a": [1]}


def test_metadata_that_is_too_large_is_answered_with_its_size_and_the_limit():
    with pytest.raises(InvalidOption, match=r"at most 4096 bytes as JSON \(these are 4104\); pass more as an argument"):
        Options.of(HERE, metadata={"a": "x" * 4096})


def test_a_delay_and_a_moment_together_are_refused():
    with pytest.raises(ConflictingOptions, match=f"^{HERE} got both 'delay' and 'run_after': give one of them.$"):
        Options.of(HERE, delay=1, run_after=NOW)


@pytest.mark.parametrize("given", [{"retries": 3, "at_most_once": True}, {"at_most_once": True, "retries": 1}])
def test_retries_of_what_may_run_once_only_are_refused(given):
    with pytest.raises(ConflictingOptions, match=f"^{HERE} got both 'at_most_once' and 'retries': give one of them.$"):
        Options.of(HERE, **given)


def test_retries_for_one_call_of_what_may_run_once_only_are_refused():
    with pytest.raises(ConflictingOptions, match="'at_most_once' and 'retries'"):
        Options.of(HERE, at_most_once=True, retries=0).replace(HERE, retries=1)


# --- what is not known ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retires", "retries"),
        ("retry", "retries"),
        ("countdown", "delay"),
        ("eta", "run_after"),
        ("time_limit", "timeout"),
        ("bind", None),
        ("que", "queue"),
        ("prioritiy", "priority"),
        ("Delay", "delay"),
        ("run_at", "run_after"),
        ("TTL", None),
        ("wibble", None),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known_one(name, meant):
    with pytest.raises(UnknownOption) as caught:
        Options.of(HERE, **{name: 1})
    assert isinstance(caught.value, TypeError)
    assert f"{HERE} got an unknown option {name!r}" in str(caught.value)
    assert (f"(did you mean {meant!r}?)" in str(caught.value)) is (meant is not None)
    assert "It knows: queue, priority, delay" in str(caught.value)


@pytest.mark.parametrize(
    ("decorator", "meant"),
    [
        (delayed_task(nam="shop.report"), "name"),
        (periodic_task(second=60), "seconds"),
        (cron_task(hour=7), "hours"),
        (cron_task(timezone="UTC"), "tz"),
        (delayed_task(bind=True), "takes_context"),
        (cron_task(missfire="skip"), "misfire"),
        (cron_task(retires=3), "retries"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one_of_its_decorator(decorator, meant):
    with pytest.raises(UnknownOption, match=f"did you mean '{meant}'") as caught:
        decorator(noop)
    assert meant in str(caught.value).partition("It knows: ")[2].strip(".").split(", ")


def test_an_unknown_option_is_refused_also_when_its_value_is_none():
    with pytest.raises(UnknownOption):
        Options.of(HERE, retires=None)


# --- at the decorators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decorator", [delayed_task, periodic_task, cron_task])
def test_each_decorator_refuses_what_it_does_not_know_and_names_the_function(decorator):
    with pytest.raises(TypeError, match=rf"@{decorator.__name__} of tests.unit.test_options.noop .*'retires'"):
        decorator(retires=3)(noop)


@pytest.mark.parametrize("decorator", [delayed_task, periodic_task, cron_task])
@pytest.mark.parametrize("value", [NOW, None])
def test_each_decorator_leaves_the_moment_to_the_call(decorator, value):
    with pytest.raises(UnknownOption, match=r"'run_after', which belongs to one call: \.using\(run_after=") as caught:
        decorator(run_after=value)(noop)
    assert "run_after" not in caught.value.known


@pytest.mark.parametrize("decorator", [delayed_task, periodic_task, cron_task])
def test_each_decorator_checks_its_values_and_names_the_function(decorator):
    with pytest.raises(ValueError, match=rf"'priority' of @{decorator.__name__} of tests.unit.test_options.noop"):
        decorator(priority=1000)(noop)


@pytest.mark.parametrize("name", ["", "a b", "x" * 201, "-", "a\nb"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(InvalidOption, match="The option 'name' of @delayed_task"):
        delayed_task(name=name)(noop)


@pytest.mark.parametrize("function", [5, "print", None, int, object()])
def test_only_functions_can_be_decorated(function):
    with pytest.raises(
        InvalidOption, match=r"The option 'function' of @delayed_task of .* must be a function \(options are"
    ):
        delayed_task(retries=1)(function)


def test_an_option_among_the_arguments_of_a_call_is_refused_with_its_place():
    with pytest.raises(
        TypeError, match=r"argument 'delay'\. Nothing was enqueued\. .*: tests\.place\.using\(delay=…\)\(…\)\.$"
    ):
        delayed_task(name="tests.place")(lambda x: x)(1, delay=5)


def test_an_option_without_its_name_is_refused():
    with pytest.raises(InvalidOption, match=r"of @delayed_task of 'mail' must be .* by name, .*, but is 'mail'\.$"):
        delayed_task("mail")


@pytest.mark.parametrize("seconds", [0, 0.05, -3, math.nan, math.inf])
def test_an_interval_of_nothing_is_refused(seconds):
    with pytest.raises(InvalidOption, match="'seconds' of @periodic_task .* must be from 0.1 seconds to a century"):
        periodic_task(seconds)(noop)


@pytest.mark.parametrize("seconds", ["60", None, True])
def test_an_interval_that_is_no_number_is_refused(seconds):
    with pytest.raises(InvalidOptionType, match="'seconds' of @periodic_task"):
        periodic_task(seconds)(noop)


@pytest.mark.parametrize("start_now", [1, "yes", None])
def test_start_now_is_true_or_false(start_now):
    with pytest.raises(InvalidOptionType, match="'start_now' of @periodic_task .* must be True or False"):
        periodic_task(60, start_now)(noop)


@pytest.mark.parametrize("decorator", [periodic_task(60), cron_task()])
def test_a_repeated_function_takes_no_arguments(decorator):
    with pytest.raises(
        UnsuitableFunction, match=r"<lambda> cannot be a task: its schedule gives it no arguments, .*'x'\. Give"
    ):
        decorator(lambda x: x)


@pytest.mark.parametrize("decorator", [periodic_task, cron_task])
def test_a_repeated_function_is_decorated_with_parentheses(decorator):
    written = rf"@{decorator.__name__}\(\.\.\.\)"
    with pytest.raises(InvalidOptionType, match=rf"of tests.unit.test_options.noop must be .* \(write {written}"):
        decorator(noop)


def test_the_page_on_decorators_lists_every_option():
    page = (ROOT / "docs" / "reference" / "decorators.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"^``(\w+)``  ", page, re.MULTILINE)) == {*DEFINITION_OPTION_NAMES, "name"}


@pytest.mark.parametrize(
    ("types", "names"),
    [
        (CallOptions, CALL_OPTION_NAMES),
        (DjangoTaskOptions, DJANGO_TASK_OPTION_NAMES),
        (DefinitionOptions, {*DEFINITION_OPTION_NAMES, "name"} - {"takes_context"}),
    ],
)
def test_every_option_has_a_type_for_type_checkers(types, names):
    assert set(types.__annotations__) == set(names)


# --- at a call ------------------------------------------------------------------------------------------------------


@delayed_task(queue="mail", delay=5)
def send(to):
    """Send something."""


def test_using_changes_only_what_is_given_and_leaves_the_task_as_it_is():
    # When
    urgent = send.using(priority=50)

    # Then
    assert urgent.options == Options(queue="mail", delay=5.0, priority=50)
    assert send.options == Options(queue="mail", delay=5.0)
    assert (urgent.name, urgent.function) == (send.name, send.function)


@pytest.mark.parametrize("option", ["backoff", "retry_on", "no_retry_on", "name", "wibble"])
def test_using_refuses_what_belongs_to_the_definition(option):
    with pytest.raises(
        UnknownOption, match=rf"^tests.unit.test_options.send.using\(\) got an unknown option '{option}'"
    ):
        send.using(**{option: 1})


def test_using_checks_values():
    with pytest.raises(InvalidOption, match=r"'delay' of tests.unit.test_options.send.using\(\) .* but is -1"):
        send.using(delay=-1)


def test_a_definition_looks_like_its_function():
    assert send.__doc__ == "Send something."
    assert send.__name__ == "send"
    assert repr(send) == "<DelayedTask tests.unit.test_options.send>"


def test_an_attribute_of_the_function_does_not_overwrite_the_definition():
    def tagged():
        return None

    tagged.options = "mine"
    tagged.name = "mine"
    definition = delayed_task(name="tests.tagged")(tagged)
    assert definition.options == Options()
    assert definition.name == "tests.tagged"


# --- which exceptions are retried -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "retried"),
    [
        ({}, ValueError(), True),
        ({}, SystemExit(), True),
        ({"retry_on": OSError}, ConnectionError(), True),
        ({"retry_on": OSError}, ValueError(), False),
        ({"no_retry_on": ValueError}, UnicodeError(), False),
        ({"no_retry_on": ValueError}, OSError(), True),
        ({"retry_on": Exception, "no_retry_on": ValueError}, ValueError(), False),
        ({"retry_on": Exception}, KeyboardInterrupt(), False),
        ({"retry_on": []}, ValueError(), False),
    ],
)
def test_retry_on_and_no_retry_on_choose_exceptions_with_their_subclasses(options, error, retried):
    assert Options.of(HERE, **options).retries_on(error) is retried
