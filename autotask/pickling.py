"""Values as pickles and back: model instances as references, and only classes that AUTOTASK_PICKLE_ALLOWED allows."""

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

#: Fixed, because during a deploy old and new versions read each other's pickles.
PROTOCOL = 5

#: Types without parts in which a model instance could be hidden.
LEAVES = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, bytearray),
        *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
        *(decimal.Decimal, uuid.UUID),
    }
)

#: The name by which pickles ask for the instances that they refer to; it must never change.
_MARK = ("autotask.pickling", "referred")


def has_parts(values: Iterable[Any]) -> bool:
    """Whether any of the values may hold others. Quick, since it runs for each call."""
    return not LEAVES.issuperset(map(type, values))


def dumps(value: Any, *, has_parts: bool = True) -> tuple[bytes, bool]:
    """Return a value as a pickle, and whether it refers to model instances.

    A pickle with references follows a second one, with the list of the instances.

    :param has_parts: False allows the quickest way; see :func:`has_parts`.
    :raises NotReferable: it has an unsaved instance, a queryset, or a class or function of the running script in it.
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


def dumps_only(refers: Reference) -> bytes:
    """Return the pickle of the arguments of a call whose only one is the instance of a reference."""
    return pickle.dumps([refers.as_stored()], PROTOCOL) + _ONLY


def loads(body: bytes, refers: bool, row: Sequence[Any] | None = None) -> Any:
    """Return the pickled value, with its model instances as they are in the database now.

    :param row: as for :func:`autotask.references.fetch`.
    :raises ObjectGone: one of the instances no longer exists.
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
        instances = fetch([Reference(*parts) for parts in _Unpickler(file, modules).load()], row)
    return _Unpickler(file, modules, instances).load()


def parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the Python code that leads to it, like ``[0]`` or ``.name``."""
    if isinstance(value, REFERABLE):
        return
    if isinstance(value, dict):
        yield from ((f"[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        # Names with "__" are Python's own, like the class in a member of an enumeration.
        yield from ((f".{key}", item) for key, item in vars(value).items() if not key.startswith("__"))


def referred(number: int) -> Model:
    """Stand for an instance in a pickle; only the unpickler of this module can tell which one."""
    raise pickle.UnpicklingError(f"This pickle refers to {number}, which only autotask can fetch.")


def _of_script(obj: "type | FunctionType") -> NotReferable:
    kind = "of the class" if isinstance(obj, type) else "the function"
    return NotReferable(
        what=f"{kind} {obj.__module__}.{obj.__qualname__}, which belongs to the script that is run, and a worker is "
        "another program",
        advice=f"Define {obj.__qualname__} in a module, and import it from there.",
    )


class _First:
    """Stands for the first instance of a pickle."""

    def __reduce__(self) -> Any:
        return referred, (0,)


#: The arguments of a call with one instance, as :func:`dumps` writes them.
_ONLY = pickle.dumps(((_First(),), {}), PROTOCOL)


class _Pickler(pickle.Pickler):
    """Replaces instances by references.

    It overrides ``reducer_override``, because ``persistent_id``, the natural choice, is also called for each number and
    string: a list of a hundred would take five times as long.

    :ivar numbers: the references so far, with their numbers.
    """

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.numbers: dict[Reference, int] = {}

    def reducer_override(self, obj: Any) -> Any:
        """Return the recipe to make an instance again; nothing of it is in the pickle."""
        # isinstance() looks through lazy objects, so request.user is the user.
        if isinstance(obj, REFERABLE):
            return referred, (self.numbers.setdefault(reference(obj), len(self.numbers)),)
        # The class of an instance comes here, too.
        if isinstance(obj, (type, FunctionType)) and obj.__module__ in SCRIPTS:
            raise _of_script(obj)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Replaces references by instances, and loads only allowed classes and functions."""

    def __init__(self, file: io.BytesIO, modules: Sequence[str] | None, instances: Sequence[Model] = ()) -> None:
        super().__init__(file, fix_imports=False)
        self._modules = modules
        self._instances = instances

    def find_class(self, module: str, name: str, /) -> Any:
        """Return the object that a pickle asks for by name."""
        if (module, name) == _MARK:
            return self._instances.__getitem__
        if self._modules is None:
            return super().find_class(module, name)
        return allowed.find(module, name, self._modules, super().find_class)
