"""AUTOTASK_PICKLE_ALLOWED: what is not of the modules it lists is not unpickled, nor taken at the call."""

import collections
import datetime
import decimal
import enum
import fractions
import io
import os
import pathlib
import pickle
import uuid
import zoneinfo
from dataclasses import dataclass

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, ngettext_lazy, npgettext_lazy, pgettext_lazy

from autotask import allowed, payload, pickling, seals
from autotask.envelopes import PLAIN
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


class Named(enum.Enum):
    """Its members are pickled by name, so with getattr, which some Python versions do with all enumerations."""

    FIRST = 1
    __reduce_ex__ = enum.pickle_by_enum_name


@dataclass(frozen=True)
class Point:
    x: int
    y: int

    class Nested:
        """A class in a class."""

    def norm(self):
        return abs(self.x) + abs(self.y)


class Folder(pathlib.PurePosixPath):
    """A class of this module with methods of another one."""


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
    return seals.seal(PLAIN, body, seals.task_context(ID, NAME))


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


@pytest.mark.parametrize(
    "value",
    [Colour.RED, Rights.READ | Rights.WRITE, Named.FIRST, Point(1, 2), Point, Point.Nested, [Colour], Folder("/x")],
)
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


#: For each entry of the list a value that needs it.
NEEDS = {
    **{("builtins", kind.__name__): kind for kind in (bool, bytes, dict, float, int, list, str, tuple)},
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex(1, 2),
    ("builtins", "frozenset"): frozenset,
    ("builtins", "object"): object,
    ("builtins", "range"): range(3),
    ("builtins", "set"): collections.defaultdict(set),
    ("builtins", "slice"): slice(1, 2),
    ("collections", "Counter"): collections.Counter("aab"),
    ("collections", "OrderedDict"): collections.OrderedDict(x=1),
    ("collections", "defaultdict"): collections.defaultdict(list, x=[1]),
    ("collections", "deque"): collections.deque([1], 3),
    ("datetime", "date"): datetime.date(2026, 7, 1),
    ("datetime", "datetime"): datetime.datetime(2026, 7, 1),
    ("datetime", "time"): datetime.time(12),
    ("datetime", "timedelta"): datetime.timedelta(1),
    ("datetime", "timezone"): datetime.UTC,
    ("decimal", "Decimal"): decimal.Decimal("1.10"),
    ("fractions", "Fraction"): fractions.Fraction(1, 3),
    ("uuid", "UUID"): uuid.UUID(int=7),
    ("zoneinfo", "ZoneInfo"): zoneinfo.ZoneInfo("Europe/Berlin"),
    **{
        (pathlib.Path.__module__, kind.__name__): kind
        for kind in (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.PureWindowsPath, pathlib.WindowsPath)
    },
    ("django.utils.functional", "_lazy_proxy_unpickle"): gettext_lazy("yes"),
    ("django.utils.functional", "unpickle_lazyobject"): SimpleLazyObject(lambda: "late"),
    ("django.utils.safestring", "SafeString"): mark_safe("<b>"),
    ("django.utils.translation", "_lazy_number_unpickle"): ngettext_lazy("%(n)d day", "%(n)d days", "n"),
    ("django.utils.translation", "gettext"): gettext_lazy("yes"),
    ("django.utils.translation", "ngettext"): ngettext_lazy("%d day", "%d days", 2),
    ("django.utils.translation", "npgettext"): npgettext_lazy("of a calendar", "%d day", "%d days", 2),
    ("django.utils.translation", "pgettext"): pgettext_lazy("answer", "yes"),
}


@pytest.mark.parametrize("place", NEEDS, ids=".".join)
def test_each_entry_of_the_list_is_needed_by_a_value(settings, monkeypatch, place):
    value, (module, name) = NEEDS[place], place
    settings.AUTOTASK_PICKLE_ALLOWED = []
    envelope = sealed(value)
    assert str(opened(envelope)) == str((value,)) or opened(envelope) == (value,)

    monkeypatch.setitem(allowed._ALWAYS, module, allowed._ALWAYS[module] - {name})
    with pytest.raises(NotAllowed, match=f"{module}.{name} is not unpickled"):
        opened(envelope)


def test_the_list_has_no_other_entries():
    entries = {(module, name) for module, names in allowed._ALWAYS.items() for name in names}
    of_paths = {place for place in entries if place[0].startswith("pathlib")}
    assert entries - of_paths == {place for place in NEEDS if not place[0].startswith("pathlib")}
    assert {name for _, name in of_paths} == {name for module, name in NEEDS if module.startswith("pathlib")}


def text(word):
    return b"\x8c" + bytes([len(word)]) + word.encode()


def found(module, name):
    return text(module) + text(name) + b"\x93"


def called(callable, *args):
    """Return the part of a pickle that calls something."""
    return callable + b"(" + b"".join(args) + b"tR"


def changed(part):
    """Return the part of a pickle that sets an attribute of what there is."""
    return part + b"N}" + text("changed") + b"K\x01s\x86b"


def pickled(part):
    """Return a pickle of arguments with this as the only one."""
    return b"\x80\x05(" + part + b"t}\x86."


GETATTR = found("builtins", "getattr")
PATH = pathlib.PosixPath.__module__


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        # Methods of everyday classes
        (found("builtins", "str"), "upper"),
        (found("builtins", "dict"), "fromkeys"),
        (found("builtins", "object"), "__subclasses__"),
        (found("datetime", "datetime"), "now"),
        (found("uuid", "UUID"), "hex"),
        (found(PATH, "PurePosixPath"), "joinpath"),
        (found(PATH, "PosixPath"), "exists"),
        (found("zoneinfo", "ZoneInfo"), "no_cache"),
        (found("collections", "Counter"), "most_common"),
        # Of what was made
        (called(found(PATH, "PosixPath"), text("/x")), "exists"),
        (text("text"), "upper"),
        # Of classes of a listed module
        (found(HERE, "Point"), "norm"),
        (found(HERE, "Point"), "Nested"),
        (found(HERE, "Point"), "__init__"),
        (found(HERE, "Folder"), "joinpath"),
        (found(HERE, "Colour"), "mro"),
        (found(HERE, "Colour"), "__members__"),
        (found(HERE, "Colour"), "GREEN"),
        (found(HERE, "touch"), "__globals__"),
    ],
)
def test_getattr_reaches_nothing_but_members_of_enumerations_and_time_zones(settings, owner, name):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    with pytest.raises(NotAllowed, match=f"getattr of {name} is not unpickled"):
        opened(signed(pickled(called(GETATTR, owner, text(name)))))
    # Nor would it, if nobody had looked through the pickle before.
    with pytest.raises(NotAllowed):
        pickling._Unpickler(io.BytesIO(pickled(called(GETATTR, owner, text(name)))), [HERE]).load()


@pytest.mark.parametrize("name", ["Point.norm", "Folder.joinpath", "Colour.mro", "touch.__call__", "__name__"])
def test_a_name_with_dots_reaches_classes_only(settings, name):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    with pytest.raises(NotAllowed):
        opened(signed(pickled(found(HERE, name))))


@pytest.mark.parametrize(
    "part",
    [
        found(HERE, "Point"),
        found(HERE, "touch"),
        found(HERE, "Colour"),
        called(found(HERE, "Colour"), b"K\x01"),
        called(GETATTR, found(HERE, "Colour"), text("RED")),
        found("django.utils.translation", "gettext"),
        found("uuid", "UUID"),
        found(PATH, "PosixPath"),
        called(found("django.utils.functional", "unpickle_lazyobject"), found(HERE, "Point")),
        GETATTR,
    ],
)
def test_what_a_pickle_finds_by_name_is_not_changed_by_it(settings, part):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    with pytest.raises(NotAllowed, match="the pickle would change it"):
        opened(signed(pickled(changed(part))))
    assert not any(
        hasattr(each, "changed") for each in (Point, touch, Colour, Colour.RED, uuid.UUID, pathlib.PosixPath)
    )


@pytest.mark.parametrize("end", [b"K\x01K\x02s", b"(K\x01K\x02u", b"K\x01a", b"(K\x01e", b"(K\x01\x90"])
def test_nothing_is_put_into_what_a_pickle_finds_by_name(settings, end):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    with pytest.raises(NotAllowed, match="the pickle would change it"):
        opened(signed(pickled(found(HERE, "Point") + end)))


def test_what_a_call_returns_is_not_called(settings):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    with pytest.raises(NotAllowed, match="the pickle would call its return value"):
        opened(signed(pickled(called(called(found(HERE, "Callable"))))))


class Callable:
    def __call__(self):
        raise AssertionError("it was called")


def test_of_a_pickle_with_one_thing_that_is_not_allowed_nothing_is_made(settings, tmp_path):
    settings.AUTOTASK_PICKLE_ALLOWED = [HERE]
    file = tmp_path / "file"
    body = called(found(HERE, "touch"), text(str(file))) + found("os", "getcwd")
    with pytest.raises(NotAllowed, match="os.getcwd"):
        opened(signed(pickled(body)))
    assert not file.exists()


def test_no_program_of_a_listed_package_is_imported(settings, tmp_path, monkeypatch):
    package = tmp_path / "has_a_program"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("raise AssertionError('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    settings.AUTOTASK_PICKLE_ALLOWED = ["has_a_program"]
    with pytest.raises(NotAllowed, match="would run a program"):
        opened(signed(pickled(found("has_a_program.__main__", "x"))))


def test_names_of_python_2_do_not_become_others_after_they_were_looked_at(settings):
    settings.AUTOTASK_PICKLE_ALLOWED = ["commands"]  # the module of that name in Python 2 is subprocess in Python 3
    with pytest.raises(ModuleNotFoundError, match="commands"):
        pickling.loads(b"ccommands\ngetoutput\n.", False)


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
