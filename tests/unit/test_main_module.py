"""What belongs to the script that is run is refused at the call: in a worker, ``__main__`` is another program."""

import dataclasses
import enum
import functools
import subprocess
import sys
from collections import namedtuple

import pytest

from autotask import registry
from autotask.exceptions import UnpicklableResult, UnsuitableArgument, UnsuitableFunction
from autotask.payload import dump_arguments, dump_result, load_arguments
from autotask.task import new_id
from autotask.tasks import delayed_task
from tests.helpers import ROOT


@dataclasses.dataclass(frozen=True)
class Point:
    """Somewhere."""

    x: object = 0


class Color(enum.Enum):
    """A color."""

    RED = 1


class Flags(enum.Flag):
    """Flags."""

    A = 1
    B = 2


class Words(list):
    """A list of its own kind."""


Pair = namedtuple("Pair", "a b")


class Plain:
    """Travels as something else."""

    def __reduce__(self):
        return dict, ()

    def method(self):
        """Do nothing."""


def function():
    """Do nothing."""


OF_THE_SCRIPT = (Point, Color, Flags, Words, Pair, Plain, function)


@pytest.fixture(params=["__main__", "__mp_main__"])
def script(request, monkeypatch):
    """Let what is defined above be of the script that is run, or of the one whose child of multiprocessing this is."""
    main = sys.modules["__main__"]
    monkeypatch.setitem(sys.modules, request.param, main)
    for one in OF_THE_SCRIPT:
        monkeypatch.setattr(one, "__module__", request.param)
        monkeypatch.setattr(main, one.__name__, one, raising=False)


def sealed(*args, **kwargs):
    return dump_arguments(args, kwargs, id=ID, name="shop.tasks.move")


ID = new_id()


@pytest.mark.parametrize(
    ("args", "kwargs", "path", "name"),
    [
        ((Point(1),), {}, "args[0]", "Point"),
        ((1, Point), {}, "args[1]", "Point"),
        ((), {"to": [1, {"a": (2, Point(3))}]}, "to[1]['a'][1]", "Point"),
        ((Color.RED,), {}, "args[0]", "Color"),
        ((Flags.A | Flags.B,), {}, "args[0]", "Flags"),
        (([Words("ab")],), {}, "args[0][0]", "Words"),
        ((Pair(1, 2),), {}, "args[0]", "Pair"),
        ((function,), {}, "args[0]", "function"),
        ((functools.partial(function),), {}, "args[0]", "function"),
        (({Point(1): 1},), {}, "args[0]", "Point"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_argument_of_the_script_is_refused_with_its_path(script, args, kwargs, path, name):
    with pytest.raises(UnsuitableArgument) as caught:
        sealed(*args, **kwargs)
    message = str(caught.value)
    assert f"The argument {path} of shop.tasks.move" in message
    assert f"main__.{name}" in message and "import it from there" in message and "Nothing was enqueued" in message


def test_what_only_looks_like_it_is_not_refused(script):
    args = ({"__main__": "__main__.Point"}, "__main__", Plain())
    envelope = sealed(*args)
    assert load_arguments(envelope, id=ID, name="shop.tasks.move")[0] == (*args[:2], {})


def test_a_result_of_the_script_is_refused_too(script):
    with pytest.raises(UnpicklableResult, match="main__.Color"):
        dump_result([Color.RED], id=ID, fence=1, name="shop.tasks.move")


SCRIPT = """
import dataclasses
import django
django.setup()
from autotask.tasks import delayed_task, periodic_task
from demo.tasks import send_welcome_mail

@dataclasses.dataclass
class Point:
    x: int

@delayed_task
def move():
    pass

@periodic_task(60)
def move_often():
    pass

for call in (move_often.run_now, lambda: send_welcome_mail(1, [Point(1)]), move, lambda: move.enqueue_many([()]), lambda: move.using(delay=5)()):
    try:
        call()
    except TypeError as error:
        print(type(error).__name__, error)
"""


def test_a_script_is_told_at_the_call(tmp_path, monkeypatch):
    # Given
    (tmp_path / "moves.py").write_text(SCRIPT)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "testproject.settings")
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost:1/none")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT}/testproject:{tmp_path}")

    # When, as with "python moves.py"
    said = subprocess.run([sys.executable, "-m", "moves"], capture_output=True, text=True, timeout=60)

    # Then
    assert said.returncode == 0, said.stderr
    often, first, *others = said.stdout.splitlines()
    assert first.startswith("UnsuitableArgument") and "args[1][0]" in first and "__main__.Point" in first
    assert often.startswith("UnsuitableFunction __main__.move_often")
    assert len(others) == 3
    for line in others:
        assert line.startswith("UnsuitableFunction __main__.move") and "Nothing was enqueued" in line


def test_a_task_of_the_script_can_be_run_at_the_call(script, settings, monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    task = delayed_task(function)
    with pytest.raises(UnsuitableFunction):
        task()
    settings.AUTOTASK_IS_ACTIVE = False
    assert task() is None
