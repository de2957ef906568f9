"""Arguments as people are shown them: masked, short, and without running the code of others."""

import collections
import datetime
import decimal
import enum
import inspect
import uuid

import pytest
from django.utils.functional import SimpleLazyObject
from hypothesis import given, strategies as st

from autotask import display
from autotask.display import LONGEST, MASK


def everything(a=None, *rest, password=None, **more):
    """Take arguments of every kind."""


def shown(*args, **kwargs):
    return display.arguments(inspect.signature(everything).bind(*args, **kwargs))


class Explosive:
    """Whatever is asked of it, but for its class, blows up."""

    def __repr__(self):
        raise AssertionError("its __repr__ was run")

    __str__ = __format__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __repr__

    def __getattr__(self, name):
        raise AssertionError(f"its {name} was asked for")


class ExplosiveInteger(int):
    __repr__ = __str__ = Explosive.__repr__


class ExplosiveText(str):
    __repr__ = __str__ = Explosive.__repr__


class ExplosiveList(list):
    __repr__ = __len__ = __iter__ = Explosive.__repr__


class ExplosiveDict(dict):
    __repr__ = __len__ = __iter__ = Explosive.__repr__


class ExplosiveMoment(datetime.datetime):
    __repr__ = __str__ = Explosive.__repr__


class Colour(enum.Enum):
    RED = 1

    def __repr__(self):
        raise AssertionError("its __repr__ was run")


class Row:
    """What a model instance looks like from here."""

    _meta = None

    def __init__(self, id):
        self.id = id

    __repr__ = Explosive.__repr__


class Slotted:
    __slots__ = ()
    _meta = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-1.5, "-1.5"),
        (True, "True"),
        (None, "None"),
        ("x", "'x'"),
        ("a'b\n", '"a\'b\\n"'),
        ([1, "x"], "[1, 'x']"),
        ((1,), "(1,)"),
        ({"x": 1}, "{'x': 1}"),
        (b"12345", "<5 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (datetime.date(2026, 7, 1), "datetime.date(2026, 7, 1)"),
        (decimal.Decimal("1.10"), "Decimal('1.10')"),
        (uuid.UUID(int=0), "UUID('00000000-0000-0000-0000-000000000000')"),
        (Colour.RED, "Colour.RED"),
        (Row(7), "<Row 7>"),
        (Row(None), "<Row>"),
        (Row("x" * 9), "<Row 'xxxxxxxxx'>"),
        (Slotted(), "<Slotted>"),
        (object(), "<object>"),
        (int, "<type>"),
    ],
)
def test_a_value_is_shown(value, text):
    assert shown(value) == f"a={text}"


def test_each_kind_of_parameter_is_shown_as_it_was_given():
    assert shown(1, 2, "x", y=3) == "a=1, 2, 'x', y=3"
    assert shown() == ""
    assert shown(y=1) == "y=1"


@pytest.mark.parametrize(
    "value",
    [
        Explosive(),
        ExplosiveInteger(5),
        ExplosiveText("x"),
        ExplosiveList([1]),
        ExplosiveDict(x=1),
        ExplosiveMoment(2026, 1, 1),
        [Explosive()],
        {"x": (Explosive(),)},
        {"x": {"y": [Explosive()]}},
        {ExplosiveText("x"): 1},
        {ExplosiveInteger(5)},
        Row(Explosive()),
        Row([Explosive()]),
        collections.namedtuple("Pair", "x y")(Explosive(), 1),
        collections.deque([Explosive()]),
        Explosive,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_code_of_another_class_is_run(value):
    assert "Explosive" in (text := shown(value, value, value=value)) or "<" in text


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "user_password", "api_key", "apikey", "X_Token_2", "client_secret", "Authorization",
     "private_key", "credentials"],
)  # fmt: skip
def test_an_argument_is_masked_by_its_name(name):
    assert shown(**{name: "hunter2"}) == f"{name}={MASK}"


def test_a_named_parameter_is_masked_also_when_given_by_position():
    def login(user, password, *tokens, **more): ...

    bound = inspect.signature(login).bind("ann", "hunter2")
    assert display.arguments(bound) == f"user='ann', password={MASK}"


def test_what_is_collected_under_a_secret_name_is_masked():
    def f(*tokens, **passwords): ...

    text = display.arguments(inspect.signature(f).bind("hunter2", "hunter3", ann="hunter4"))
    assert "hunter" not in text


def test_keys_of_dicts_are_masked_at_every_depth():
    text = shown([{"x": {"password": "hunter2", "user": "ann"}}], y=({"Token": b"hunter2"},))
    assert "hunter2" not in text
    assert "'ann'" in text
    assert text.count(MASK) == 2


def test_a_secret_below_the_depth_that_is_shown_is_not_shown():
    value = {"password": "hunter2"}
    for _ in range(20):
        value = [value]
        assert "hunter2" not in shown(value)


def test_keys_that_are_bytes_or_text_of_another_class_are_masked_too():
    assert "hunter2" not in shown({b"password": "hunter2"})
    assert "hunter2" not in shown({ExplosiveText("password"): "hunter2"})


def test_other_words_can_be_masked(settings):
    settings.AUTOTASK_MASKED_ARGUMENTS = ["IBAN"]
    assert shown(iban="DE02", my_iban_2="DE03", password="shown") == f"password='shown', iban={MASK}, my_iban_2={MASK}"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        [1] * 1_000_000,
        {n: n for n in range(100_000)},
        10**4000,
        ["x" * 10_000] * 6,
        {"y" * 9999: "x" * 9999},
    ],
    ids=["text", "list", "dict", "number", "texts in a list", "texts in a dict"],
)
def test_large_values_are_cut_off(value):
    assert len(shown(value)) <= LONGEST
    assert len(shown(*[value] * 20, **{f"k{n}": value for n in range(20)})) <= LONGEST


def test_a_number_too_long_to_be_written_out_is_shown_somehow():
    assert shown(10**5000).startswith("a=")
    assert shown(decimal.Decimal(10) ** 400).startswith("a=")


def test_many_arguments_end_in_an_ellipsis():
    text = shown(*range(1000))
    assert len(text) == LONGEST
    assert text.endswith("…")


def test_a_circle_comes_to_an_end():
    circle = []
    circle.append(circle)
    mapping = {}
    mapping["x"] = mapping
    assert len(shown(circle, mapping)) < LONGEST


@given(
    st.recursive(
        st.text() | st.integers() | st.floats() | st.binary() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_plain_value_is_shown_within_the_length(value):
    assert len(shown(value, x=value)) <= LONGEST


def test_a_lazy_object_is_not_fetched():
    def fetch():
        raise AssertionError("it was fetched")

    assert shown(SimpleLazyObject(fetch), [SimpleLazyObject(fetch)]) == "a=<SimpleLazyObject>, [<SimpleLazyObject>]"
