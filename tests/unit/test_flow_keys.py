"""Keys: the same text for the same values, another one for any other; readable, short, and without secrets."""

import enum
import functools
import inspect
import math
import re
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from hypothesis import assume, given, strategies as st

from autotask.exceptions import InvalidOption, InvalidOptionType, UnsuitableKey
from autotask.flow.keys import LONGEST_KEY, KeyWriter, checked_key
from autotask.tasks import Debounce, Limit, Rate, delayed_task
from autotask.texts.masks import Masks

WRITER = KeyWriter(Masks(("password", "pin")), b"pepper")
ID = UUID("6f1c2b44-0000-4000-8000-00000000002a")


def text(key, function, *args, writer=WRITER, **kwargs):
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return writer.text(key, bound, "unique", "shop.tasks.sync")


def of(value):
    """Return the text of one value."""
    return text(lambda value: value, lambda value: None, value)


@given(
    st.lists(st.integers() | st.integers(10**150, 10**220) | st.booleans() | st.text(max_size=3), max_size=3), st.data()
)
def test_the_quick_way_writes_the_same_or_nothing(values, data):
    def function(a, b, pin=7):
        pass

    assume(len(values) >= 2)
    key = data.draw(st.sampled_from([True, "a", "b", ("b", "a"), "pin", ("a", "pin")]))
    quick = WRITER.prepared(key, ("a", "b", "pin"))(values)
    assert quick in (None, text(key, function, *values))
    if all(type(value) is int and abs(value) < 10**18 for value in values):
        assert (quick is None) == (key in (True, "pin", ("a", "pin")))


class Color(enum.Enum):
    RED = "red"


class Size(enum.StrEnum):
    SMALL = "small"


class Level(enum.IntEnum):
    LOW = 1


class Allowed(enum.Flag):
    READ = 1
    WRITE = 2


class Model:
    """An instance of a model, as far as keys look at it."""

    def __init__(self, label, pk):
        self._meta = SimpleNamespace(label_lower=label)
        self.pk = pk


class Proxy(Model):
    def __init__(self, label, pk):
        super().__init__(label + "proxy", pk)
        self._meta.concrete_model = Model(label, None)


# --- the arguments that count ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("account_id", "account_id=7"),
        (("region", "account_id"), "region='eu', account_id=7"),
        (True, "account_id=7, region='eu'"),
        (lambda account_id, region: account_id % 4, "3"),
        (lambda account_id, region: (region, account_id), "'eu', 7"),
        (lambda number, anything: (number,), "7,"),
        (lambda account_id, region: None, "None"),
    ],
)
def test_a_key_is_made_of_the_arguments_it_names(key, expected):
    def sync(account_id, region="eu"): ...

    assert text(key, sync, 7) == text(key, sync, account_id=7, region="eu") == expected


def test_a_function_gets_the_arguments_as_the_task_function_does():
    def sync(first, /, second, *more, third, **others): ...

    def key(*args, **kwargs):
        return repr((args, kwargs))

    assert text(key, sync, 1, 2, 3, third=4, fourth=5) == repr("((1, 2, 3), {'third': 4, 'fourth': 5})")


def test_an_error_of_the_function_reaches_the_caller():
    with pytest.raises(ZeroDivisionError):
        text(lambda number: 1 / number, lambda number: None, 0)


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "None"),
        (True, "True"),
        (7, "7"),
        (7.0, "7.0"),
        ("7", "'7'"),
        (b"7", "b'7'"),
        ("it's\n\0", '"it\'s\\n\\x00"'),
        (Decimal("7.50"), "Decimal(7.5)"),
        (Decimal("7E+1"), "Decimal(70)"),
        (Decimal("1E+1000000"), "Decimal(1E+1000000)"),
        (Decimal("NaN"), "Decimal(NaN)"),
        (ID, "6f1c2b44-0000-4000-8000-00000000002a"),
        (date(2026, 7, 1), "2026-07-01"),
        (time(12, 30), "12:30:00"),
        (datetime(2026, 7, 1, 12), "2026-07-01T12:00:00"),
        (datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2))), "2026-07-01T10:00:00+00:00"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=2))), "0001-01-01T00:00:00+02:00"),
        (timedelta(minutes=1), "60s"),
        (timedelta(microseconds=-1), "-1us"),
        (Color.RED, f"{__name__}.Color.RED"),
        (Allowed(0), f"{__name__}.Allowed.0"),
        (Allowed.READ | Allowed.WRITE, f"{__name__}.Allowed.READ|WRITE"),
        (Size.SMALL, "'small'"),
        (Level.LOW, "1"),
        (Model("shop.order", 7), "shop.order:7"),
        (Model("shop.order", "7"), "shop.order:'7'"),
        (Model("shop.order", (7, "a")), "shop.order:(7, 'a')"),
        ([1, (2,), (), {4, 3}, set()], "[1, (2,), (), {3, 4}, set()]"),
        ({"b": 1, "a": [None]}, "{'a': [None], 'b': 1}"),
        (10**400, hex(10**400)[:LONGEST_KEY]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_value_is_readable(value, expected):
    assert of(value)[:150] == expected[:150]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (Decimal("7.50"), Decimal("7.5")),
        (Decimal("-0.0"), Decimal(0)),
        (0.0, -0.0),
        (Size.SMALL, "small"),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 14, tzinfo=timezone(timedelta(hours=2)))),
        ({1, 2, 3}, frozenset((3, 2, 1))),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (Model("shop.order", 7), Proxy("shop.order", 7)),
    ],
)
def test_equal_values_have_the_same_text(one, same):
    assert of(one) == of(same)


SIMPLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.timedeltas(),
    st.sampled_from([*Color, *Allowed]),
    st.builds(Model, st.sampled_from(["shop.order", "shop.item"]), st.integers() | st.text(min_size=1)),
)
VALUES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
    ),
    max_leaves=5,
)


def same(one, other):
    """Whether two values are the same: equal, and of the same type, also inside."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Model):
        return one._meta == other._meta and same(one.pk, other.pk)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


@given(VALUES, VALUES)
def test_different_values_have_different_texts(one, other):
    assume(not same(one, other))
    assert of(one) != of(other)


@given(st.sampled_from(["7", 7, 7.0, Decimal(7), b"7", (7,), [7], timedelta(seconds=7), "7,", (), "", None, "None"]),
       st.sampled_from(["7", 7, 7.0, Decimal(7), b"7", (7,), [7], timedelta(seconds=7), "7,", (), "", None, "None"]))  # fmt: skip
def test_values_that_look_alike_have_different_texts(one, other):
    assert (of(one) == of(other)) == same(one, other)


@given(st.lists(VALUES, min_size=1, max_size=3), st.lists(VALUES, min_size=1, max_size=3))
def test_different_arguments_have_different_texts(first, second):
    assume(not same(first, second))

    def sync(a, b=None, c=None): ...

    padded = [[*values, None, None][:3] for values in (first, second)]
    assume(not same(*padded))
    assert text(True, sync, *first) != text(True, sync, *second)


@given(VALUES)
def test_a_text_can_be_stored_and_is_short(value):
    written = of(value)
    assert len(written) <= LONGEST_KEY
    assert "\0" not in written
    written.encode()


@given(st.text(min_size=LONGEST_KEY), st.text(min_size=1))
def test_long_texts_are_cut_and_stay_different(value, more):
    assert re.fullmatch(r".{166}…#[0-9a-f]{32}", of(value), re.DOTALL)
    assert of(value) != of(value + more)


# --- values that keys cannot be made of -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (object(), "object"),
        (Model, "type"),
        (len, "builtin_function_or_method"),
        (functools.partial(len), "partial"),
        (bytearray(b"7"), "bytearray"),
        ([1, {"a": object()}], "object"),
        (1j, "complex"),
    ],
)
def test_another_value_is_refused_with_the_way_out(value, what):
    message = (
        rf"^The option 'unique' of shop.tasks.sync has a key that cannot be made of a value of type {what}. Give the names of other "
        r"parameters, or a function of the arguments that returns a number, a string or a tuple. Nothing was enqueued.$"
    )
    with pytest.raises(UnsuitableKey, match=message) as caught:
        text(True, lambda value: None, value)
    assert isinstance(caught.value, TypeError)


def test_an_unsaved_instance_is_refused():
    with pytest.raises(UnsuitableKey, match="cannot be made of an unsaved Model. Save it first."):
        of(Model("shop.order", None))


# --- secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_argument_appears_as_a_hash_only():
    def log_in(user, password): ...

    one, other = (text(True, log_in, "ann", password) for password in ("1234", "1235"))
    assert re.fullmatch(r"user='ann', password=#[0-9a-f]{32}", one)
    assert one != other
    assert one == text(True, log_in, "ann", "1234")


def test_the_hash_of_a_secret_cannot_be_guessed_without_the_key_of_the_site():
    def check(pin): ...

    assert text("pin", check, 1234) != text("pin", check, 1234, writer=KeyWriter(Masks(("pin",)), b"another"))


@pytest.mark.parametrize(
    "value", [{"password": "1234"}, [{"a": {"db_password": 1234}}], "https://ann:1234@example.com"]
)
def test_a_secret_inside_a_value_appears_as_a_hash_only(value):
    assert "1234" not in of(value)
    assert re.search("#[0-9a-f]{32}", of(value))


# --- where they are written -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [True, None, "a", ("a", "b"), len, lambda a: a], ids=["all", "none", "name", "names", "builtin", "function"]
)
def test_a_key_is_kept_as_it_was_given(key):
    assert checked_key(key, "key", "Limit()") == key


def test_a_list_of_names_becomes_a_tuple():
    assert checked_key(["a", "b"], "key", "Limit()") == ("a", "b")


@pytest.mark.parametrize("key", [False, 7, b"a", {"a"}, [1], {"a": 1}, math.nan])
def test_a_key_of_another_type_is_refused(key):
    with pytest.raises(InvalidOptionType, match=r"'key' of Limit\(\) must be True, the name of a parameter, a list"):
        Limit(1, key=key)


@pytest.mark.parametrize("key", ["", [], (), ["a", ""], ["a", "a"]])
def test_a_key_without_names_is_refused(key):
    with pytest.raises(InvalidOption, match=r"'key' of Rate\(\) must be one or more names of parameters"):
        Rate("1/s", key=key)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("unique", "acount_id"),
        ("unique", ("account_id", "acount_id")),
        ("concurrency", Limit(1, key="acount_id")),
        ("rate", Rate("1/s", key="acount_id")),
        ("debounce", Debounce(5, key="acount_id")),
        ("throttle", Rate("1/s", key="acount_id")),
    ],
)
def test_a_name_that_is_no_parameter_is_refused_where_it_is_written(option, given):
    def sync(account_id, region="eu"): ...

    message = (
        f"^The option '{option}' of tests.sync must be made of parameters of the function "
        r"\('account_id', 'region'\) \(did you mean 'account_id'\?\), but is 'acount_id'.$"
    )
    with pytest.raises(InvalidOption, match=message):
        delayed_task(name="tests.sync", **{option: given})(sync)


def test_the_context_is_no_parameter_of_a_call():
    with pytest.raises(InvalidOption, match=r"parameters of the function \(it has none\), but is 'context'"):
        delayed_task(name="tests.context", takes_context=True, unique="context")(lambda context: None)


def test_using_refuses_it_too():
    sync = delayed_task(name="tests.using")(lambda account_id: None)
    assert sync.using(unique="account_id").options.unique == "account_id"
    with pytest.raises(InvalidOption, match="'unique' of tests.using must be made of parameters"):
        sync.using(unique="region")


@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("unique", lambda function: function),
        ("concurrency", lambda function: Limit(1, key=function)),
        ("rate", lambda function: Rate("1/s", key=function)),
        ("rate", lambda function: Rate("1/s", burst=5, cost=function)),
        ("debounce", lambda function: Debounce(5, key=function)),
        ("throttle", lambda function: Rate("1/s", key=function)),
    ],
)
def test_a_function_that_does_not_take_the_arguments_is_refused_where_it_is_written(option, make):
    def sync(account_id, year=1, *, full=False): ...

    fitting = [lambda account_id, year, full: 1, lambda *args, **kwargs: 1, lambda first, *_, full: 1]
    for function in fitting:
        delayed_task(name="tests.fits", **{option: make(function)})(sync)
    for function in (lambda account_id: 1, lambda account_id, year, *, everything: 1):
        with pytest.raises(
            InvalidOption, match=f"'{option}' of tests.unfit must be a function that takes the arguments"
        ):
            delayed_task(name="tests.unfit", **{option: make(function)})(sync)


class Awaited:
    async def __call__(self, *args, **kwargs): ...


class Generated:
    def __call__(self, *args, **kwargs):
        yield


@pytest.mark.parametrize(
    ("option", "make"),
    [
        ("unique", lambda function: function),
        ("concurrency", lambda function: Limit(1, key=function)),
        ("rate", lambda function: Rate("1/s", burst=5, cost=function)),
        ("merge", lambda function: Debounce(5, merge=function)),
    ],
)
def test_a_function_of_which_a_call_runs_nothing_is_refused_where_it_is_written(option, make):
    generated = Generated(), Generated().__call__
    for function, kind in (
        (Awaited().__call__, "coroutine"),
        (Awaited(), "coroutine"),
        *((each, "generator") for each in generated),
    ):
        for parameters in (lambda account_id: None, lambda *args: None):
            with pytest.raises(InvalidOption, match=f"'{option}' of .* must be a plain function, not a {kind}"):
                delayed_task(name="tests.awaited", **{option: make(function)})(parameters)


def test_a_merge_that_does_not_take_two_dicts_is_refused_where_it_is_written():
    for fitting in (lambda waiting, new: new, lambda *both: both[1], dict, lambda waiting, new, more=None: new):
        Debounce(5, merge=fitting)
    for unfit in (lambda waiting: waiting, lambda *, waiting, new: new, lambda waiting, new, more: new):
        with pytest.raises(InvalidOption, match=r"'merge' of Debounce\(\) must be a function of two dicts"):
            Debounce(5, merge=unfit)


def test_a_function_of_any_number_of_arguments_is_not_judged_before_the_call():
    delayed_task(name="tests.any", unique=lambda first: first)(lambda *args: None)
