"""Values as pickles and back: model instances as references, and nothing but what AUTOTASK_PICKLE_ALLOWED allows."""

import datetime
import decimal
import io
import pickle
import uuid
from collections.abc import Iterable, Iterator, Sequence
from types import FunctionType
from typing import Any

from django.db.models import Model

from autotask import allowed
from autotask.conf import settings
from autotask.exceptions import NotReferable
from autotask.functions import SCRIPTS
from autotask.references import REFERABLE, Reference, fetch, reference

#: Fixed, because old pickles have to be read by newer versions and the other way round during a deploy.
PROTOCOL = 5

#: What has no parts in which an instance of a model could be hidden.
_LEAVES = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, bytearray),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
        *(decimal.Decimal, uuid.UUID),
    }
)

#: By this name a pickle asks for the instances it refers to, so it must never change.
_MARK = ("autotask.pickling", "referred")


def has_parts(values: Iterable[Any]) -> bool:
    """Whether any of the values may hold others. Quick, since this is asked for each call."""
    return not _LEAVES.issuperset(map(type, values))


def dumps(value: Any, *, has_parts: bool = True) -> tuple[bytes, bool]:
    """Return a value as a pickle, and whether it refers to instances of models.

    A pickle with references has a second one before it, with a list of what they refer to.

    :param has_parts: False lets it be done in the quickest way; see :func:`has_parts`.
    :raises NotReferable: there is an unsaved instance or a queryset in it, or something of the script that is run.
    :raises NotAllowed: AUTOTASK_PICKLE_ALLOWED would not let it be unpickled.
    :raises Exception: whatever pickling raises.
    """
    if not has_parts:
        return pickle.dumps(value, PROTOCOL), False
    file = io.BytesIO()
    pickler = _Pickler(file, PROTOCOL)
    pickler.dump(value)
    body = file.getvalue()
    if (modules := settings.PICKLE_ALLOWED) is not None:
        allowed.examine(body, modules, _MARK)
    if not pickler.numbers:
        return body, False
    return pickle.dumps([refers.as_stored() for refers in pickler.numbers], PROTOCOL) + body, True


def loads(body: bytes, refers: bool) -> Any:
    """Return what was pickled, with the instances of models that it refers to as they are in the database now.

    :raises ObjectGone: one of them is not there any more.
    :raises NotAllowed: AUTOTASK_PICKLE_ALLOWED does not allow it.
    :raises Exception: whatever unpickling raises, for example ImportError for a class that is gone.
    """
    modules = settings.PICKLE_ALLOWED
    if modules is not None:
        allowed.examine(body, modules, _MARK, pickles=2 if refers else 1)
    elif not refers:
        return pickle.loads(body)
    file = io.BytesIO(body)
    instances: Sequence[Model] = ()
    if refers:
        instances = fetch([Reference(*parts) for parts in _Unpickler(file, modules).load()])
    return _Unpickler(file, modules, instances).load()


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Return what a value holds, each with what leads to it in Python, like ``[0]`` or ``.name``."""
    if isinstance(value, REFERABLE):
        return
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        # What Python keeps in an instance, like the class in a member of an enumeration, is not the author's.
        yield from ((f".{key}", item) for key, item in vars(value).items() if not key.startswith("__"))


def referred(number: int) -> Model:
    """Stand for an instance in a pickle. Only the unpickler of this module knows which one."""
    raise pickle.UnpicklingError(f"This pickle refers to {number}, which only autotask can fetch.")


def _of_script(obj: "type | FunctionType") -> NotReferable:
    kind = "of the class" if isinstance(obj, type) else "the function"
    return NotReferable(
        what=f"{kind} {obj.__module__}.{obj.__qualname__}, which belongs to the script that is run, and a worker is "
        "another program",
        advice=f"Define {obj.__qualname__} in a module, and import it from there.",
    )


class _Pickler(pickle.Pickler):
    """Makes references of instances.

    ``reducer_override`` is called for what is pickled by a class of its own, and ``persistent_id``, which would be the
    natural choice, for each number and string as well: a list of a hundred would take five times as long.

    :ivar numbers: what has been referred to, numbered.
    """

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.numbers: dict[Reference, int] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Return how an instance is made anew; nothing of it is in the pickle."""
        # isinstance() believes lazy objects, so request.user is the user.
        if isinstance(obj, REFERABLE):
            return referred, (self.numbers.setdefault(reference(obj), len(self.numbers)),)
        # Of an instance, its class comes by here too.
        if isinstance(obj, (type, FunctionType)) and obj.__module__ in SCRIPTS:
            raise _of_script(obj)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Puts instances in the place of references, and keeps to what is allowed."""

    def __init__(self, file: io.BytesIO, modules: Sequence[str] | None, instances: Sequence[Model] = ()) -> None:
        super().__init__(file, fix_imports=False)
        self._modules = modules
        self._instances = instances

    def find_class(self, module: str, name: str, /) -> Any:
        """Return what a pickle asks for by name."""
        if (module, name) == _MARK:
            return self._instances.__getitem__
        if self._modules is None:
            return super().find_class(module, name)
        return allowed.find(module, name, self._modules, super().find_class)
