"""Values of all kinds come back as they were, at any depth."""

import datetime
import enum
import pathlib
import uuid
import zoneinfo
from dataclasses import dataclass, field

import pytest
from django.utils import timezone, translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy
from hypothesis import given, settings as patience, strategies as st

from autotask.payload import dump_arguments, dump_result, load_arguments, load_result

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")
NAME = "shop.tasks.send"


class Colour(enum.Enum):
    RED = "red"
    BLUE = object  # a member whose value is a class


class Size(enum.IntEnum):
    S = 1
    L = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: object
    tags: frozenset[str] = frozenset()


@dataclass(slots=True)
class Slotted:
    inner: object
    more: list[object] = field(default_factory=list)


ZONES = st.sampled_from(
    [
        datetime.UTC,
        zoneinfo.ZoneInfo("Europe/Berlin"),
        zoneinfo.ZoneInfo("Australia/Lord_Howe"),
        timezone.get_fixed_timezone(-90),
    ]
)

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())  # lone surrogates, too
    | st.binary()
    | st.binary().map(bytearray)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes()
    | st.datetimes(timezones=ZONES)
    | st.sampled_from([*Colour, *Size, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)])
    | st.from_regex(r"[a-z/. ]{1,20}", fullmatch=True).map(pathlib.PurePosixPath)
)
KEYS = st.integers() | st.text() | st.uuids() | st.tuples(st.integers(), st.text()) | st.sampled_from(Size)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Point, inner, st.frozensets(st.text(), max_size=3))
        | st.builds(Slotted, inner, st.lists(inner, max_size=2))
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


def same(value, again):
    return value == again and type(value) is type(again)


@patience(max_examples=150)
@given(VALUES, VALUES)
def test_arguments_of_all_kinds_come_back_as_they_were(value, other):
    envelope = dump_arguments((value,), {"other": other}, id=ID, name=NAME)
    (again,), kwargs = load_arguments(envelope, id=ID, name=NAME)
    assert same(value, again) and same(other, kwargs["other"]) and list(kwargs) == ["other"]


@patience(max_examples=100)
@given(VALUES)
def test_results_of_all_kinds_come_back_as_they_were(value):
    assert same(value, load_result(dump_result(value, id=ID, fence=7, name=NAME), id=ID, fence=7))


@given(st.datetimes(timezones=ZONES))
def test_a_moment_keeps_its_zone_and_its_side_of_the_hour_that_is_repeated(moment):
    (again,), _ = load_arguments(dump_arguments((moment,), {}, id=ID, name=NAME), id=ID, name=NAME)
    assert (again.replace(tzinfo=None), again.fold) == (moment.replace(tzinfo=None), moment.fold)
    assert again.utcoffset() == moment.utcoffset() and str(again.tzinfo) == str(moment.tzinfo)


def test_a_lazy_text_stays_lazy_and_is_translated_where_it_is_used():
    text = gettext_lazy("Monday")
    with translation.override("de"):
        envelope = dump_arguments((text,), {}, id=ID, name=NAME)
    (again,), _ = load_arguments(envelope, id=ID, name=NAME)
    assert isinstance(again, Promise)
    with translation.override("fr"):
        assert str(again) == "lundi"


def test_what_is_one_object_at_the_call_is_one_in_the_task():
    shared = [1]
    (first, second), _ = load_arguments(dump_arguments((shared, {"x": shared}), {}, id=ID, name=NAME), id=ID, name=NAME)
    assert second["x"] is first


def test_a_file_travels_by_its_path_and_not_by_what_is_open(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    (again,), _ = load_arguments(dump_arguments((path,), {}, id=ID, name=NAME), id=ID, name=NAME)
    assert again.read_text() == "x"
    with path.open() as file, pytest.raises(TypeError, match=r"The argument args\[0\] .* cannot be pickled"):
        dump_arguments((file,), {}, id=ID, name=NAME)
