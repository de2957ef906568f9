"""AUTOTASK_PICKLE_ALLOWED: what is not of the modules it lists is not unpickled, nor taken at the call."""

import collections
import datetime
import decimal
import enum
import fractions
import os
import pathlib
import pickle
import uuid
import zoneinfo
from dataclasses import dataclass

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy

from autotask import payload, pickling
from autotask.exceptions import NotAllowed, UnpicklableArgument
from autotask.payload import dump_arguments, load_arguments

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")
NAME = "shop.tasks.send"
HERE = __name__

# As any module has imported something.
system = os.system


class Colour(enum.Enum):
    RED = 1


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    y: int

    class Nested:
        """A class in a class."""


class Called:
    """Calls something when it is unpickled."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def sealed(*args):
    return dump_arguments(args, {}, id=ID, name=NAME)


def opened(envelope):
    args, _ = load_arguments(envelope, id=ID, name=NAME)
    return args


def signed(body):
    """Return an envelope around any pickle, as who has the key can make it."""
    return payload._seal(payload._PLAIN, body, payload._task_context(ID, NAME))


def asking_for(module, name, *args):
    """Return a pickle that calls what goes by a name, as pickle itself would not write it; the arguments are text."""
    texts = b"".join(b"\x8c" + bytes([len(a)]) + a.encode() for a in args)
    name_parts = b"".join(b"\x8c" + bytes([len(a)]) + a.encode() for a in (module, name))
    return b"\x80\x05((" + name_parts + b"\x93(" + texts + b"tRt}t."


def everyday_values():
    return [
        None,
        [1, {"x": (2.5, {3})}, frozenset("y"), bytearray(b"z"), complex(1, 2), range(3)],
        decimal.Decimal("1.10"),
        fractions.Fraction(1, 3),
        uuid.uuid4(),
        datetime.datetime(2026, 3, 29, 3, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
        datetime.datetime(2026, 3, 29, 3, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        datetime.timedelta(days=1),
        collections.OrderedDict(x=1),
        collections.Counter("aab"),
        collections.defaultdict(list, x=[1]),
        pathlib.Path("/tmp/x"),
        gettext_lazy("yes"),
        ngettext_lazy("%d day", "%d days", 2),
        mark_safe("<b>"),
        SimpleLazyObject(lambda: "late"),
        ValueError("no"),
    ]


@pytest.mark.parametrize("value", everyday_values(), ids=lambda value: type(value).__name__)
def test_values_of_everyday_life_need_no_module(settings, value):
    settings.AUTOTASK_PICKLE_ALLOWED = []
    (again,) = opened(sealed(value))
    assert repr(again) == repr(value) if isinstance(value, Exception) else again == value


@pytest.mark.parametrize("value", [Colour.RED, Rights.READ | Rights.WRITE, Point(1, 2), Point, Point.Nested, [Colour]])
@pytest.mark.parametrize("modules", [[HERE], ["tests"], ["shop", "tests.unit"]])
def test_what_is_of_a_listed_module_or_inside_one_is_unpickled(settings, value, modules):
    settings.AUTOTASK_PICKLE_ALLOWED = modules
    assert opened(sealed(value)) == (value,)


@pytest.mark.parametrize("modules", [[], ["shop"], ["tests.unit.test"], ["test_allowed"], [HERE + ".Point"]])
def test_a_call_with_what_is_of_no_listed_module_is_refused_with_module_and_setting(settings, modules):
    settings.AUTOTASK_PICKLE_ALLOWED = modules
    with pytest.raises(UnpicklableArgument) as caught:
        sealed({"where": [Point(1, 2)]})
    assert f"{NAME} cannot be pickled: NotAllowed: {HERE}.Point is not unpickled" in str(caught.value)
    assert "The argument args[0]['where'][0] of" in str(caught.value)
    assert f"{HERE} is not among the modules of AUTOTASK_PICKLE_ALLOWED" in str(caught.value)


def test_nothing_is_made_while_a_call_is_looked_at(settings, tmp_path):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    envelope = sealed(Called(touch, str(tmp_path / "file")))
    assert not (tmp_path / "file").exists()
    opened(envelope)
    assert (tmp_path / "file").exists()


def touch(path):
    pathlib.Path(path).touch()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "open"),
        ("builtins", "__import__"),
        ("builtins", "type"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("importlib", "import_module"),
        # By way of what is allowed
        (HERE, "system"),
        (HERE, "os.system"),
        (HERE, "os"),
        (HERE, "pickle.loads"),
        (HERE, "Point.__init__.__globals__"),
        ("datetime", "sys.exit"),
        ("datetime", "datetime.__subclasses__"),
        ("tests.unit", "test_allowed.os.system"),
        ("testsunit", "x"),
        ("", "system"),
    ],
)
def test_who_has_the_key_cannot_have_anything_else_called(settings, tmp_path, module, name):
    settings.AUTOTASK_PICKLE_ALLOWED = ["tests"]
    file = tmp_path / "made"
    with pytest.raises((NotAllowed, ModuleNotFoundError, AttributeError)):
        opened(signed(asking_for(module, name, f"touch {file}")))
    assert not file.exists()


def test_the_wall_stops_something(tmp_path):
    """Without this, the test above would not show anything."""
    file = tmp_path / "made"
    opened(signed(asking_for("os", "system", f"touch {file}")))
    assert file.exists()


@pytest.mark.parametrize("name", ["__subclasses__", "__init__", "__globals__"])
def test_attributes_are_those_of_allowed_classes_only_and_not_the_internal_ones(settings, name):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    for owner in (Point, datetime.datetime):
        body = pickle.dumps(((Called(getattr, owner, name),), {}))
        with pytest.raises(NotAllowed, match=f"getattr of {name}"):
            opened(signed(body))
    with pytest.raises(NotAllowed):
        opened(signed(pickle.dumps(((Called(getattr, "text", "format"),), {}))))


def test_results_are_behind_the_wall_too(settings):
    envelope = payload.dump_result(Point(1, 2), id=ID, fence=1, name=NAME)
    settings.AUTOTASK_PICKLE_ALLOWED = []
    with pytest.raises(NotAllowed):
        payload.load_result(envelope, id=ID, fence=1)


def test_without_the_setting_there_is_no_wall(settings):
    settings.AUTOTASK_PICKLE_ALLOWED = None
    assert opened(sealed(Point(1, 2))) == (Point(1, 2),)


def test_a_reference_means_nothing_to_other_readers():
    with pytest.raises(pickle.UnpicklingError, match="only autotask can fetch"):
        pickle.loads(pickle.dumps(Called(pickling.referred, 0)))
