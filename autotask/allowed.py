"""Limits unpickling to AUTOTASK_PICKLE_ALLOWED: a second wall, behind the signature."""

import builtins
import enum
import functools
import io
import pickle
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from autotask.exceptions import NotAllowed

#: Everyday values, which can do no harm. Never a function that takes a name or code, nor one that calls its argument at
#: once. Each entry has a value in the tests that needs it.
_ALWAYS = {
    "builtins": {
        *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object"),
        *("range", "set", "slice", "str", "tuple"),
    },
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "fractions": {"Fraction"},
    "uuid": {"UUID"},
    "zoneinfo": {"ZoneInfo"},
    **dict.fromkeys(("pathlib", "pathlib._local"), {"PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"}),
    "django.utils.functional": {"_lazy_proxy_unpickle", "unpickle_lazyobject"},
    "django.utils.safestring": {"SafeString"},
    "django.utils.translation": {"_lazy_number_unpickle", "gettext", "ngettext", "npgettext", "pgettext"},
}

_GETATTR = ("builtins", "getattr")

#: Returns its argument, so a class passed through it is still that class.
_SAME = ("django.utils.functional", "unpickle_lazyobject")

Find = Callable[[str, str], Any]


def find(module: str, name: str, modules: Sequence[str], find_class: Find) -> Any:
    """Return the object that a pickle asks for by name.

    :param modules: the allowed modules, with all modules inside them.
    :param find_class: imports the object.
    :raises NotAllowed: it belongs to another module, and is not an everyday value.
    """
    if name in _ALWAYS.get(module, ()) or _is_exception(module, name):
        return find_class(module, name)
    if (module, name) == _GETATTR:
        return functools.partial(_attribute, modules)
    if "__main__" in module.split(".")[1:]:
        _refuse(module, name, f"importing {module} would run a program")
    if any(part.startswith("__") and part.endswith("__") for part in name.split(".")):
        _refuse(module, name, "it is an internal name of Python")
    found = find_class(module, name) if _is_in(module, modules) else None
    # A module also has the names that it has imported: "shop.tasks" may well have "os.system".
    if not _is_in(getattr(found, "__module__", None), modules):
        _refuse(module, name, f"{module} is not among the modules of AUTOTASK_PICKLE_ALLOWED")
    if "." in name and not isinstance(found, type):
        _refuse(module, name, "inside a class, only classes are allowed")
    return found


def examine(body: bytes, modules: Sequence[str], *known: tuple[str, str], pickles: int = 1) -> None:
    """Read through a pickle without making any of its objects.

    This checks which objects it asks for, and also its use of them: it may call them and pass them on, but not change
    them. Otherwise it could set attributes of classes and functions, and so change what the process does from then on.

    :param known: other objects that it may ask for.
    :param pickles: how many there are, one after the other.
    :raises NotAllowed: it asks for an object that is not allowed, or would change one.
    """
    file = io.BytesIO(body)
    for _ in range(pickles):
        _Examiner(file, modules, known).load()


def _refuse(module: str, name: str, reason: str) -> NoReturn:
    raise NotAllowed(module=module, name=name, reason=reason)


def _is_in(module: Any, modules: Sequence[str]) -> bool:
    return isinstance(module, str) and any(module == one or module.startswith(f"{one}.") for one in modules)


def _is_exception(module: str, name: str) -> bool:
    found = getattr(builtins, name, None) if module == "builtins" else None
    return isinstance(found, type) and issubclass(found, BaseException)


def _attribute(modules: Sequence[str], owner: Any, name: Any) -> Any:
    if name not in _attributes(modules, owner):
        _refuse_attribute(name)
    return getattr(owner, name)


def _attributes(modules: Sequence[str], owner: Any) -> tuple[str, ...]:
    """Return the attributes that getattr may read: members of enumerations in allowed modules, and ZoneInfo._unpickle."""
    if isinstance(owner, enum.EnumType) and _is_in(owner.__module__, modules):
        return tuple(owner.__members__)
    return ("_unpickle",) if owner is zoneinfo.ZoneInfo else ()


def _refuse_attribute(name: Any) -> NoReturn:
    _refuse(_GETATTR[0], f"getattr of {name!s:.100}", "only enumerations and time zones need it")


class _Examiner(pickle.Unpickler):
    """Replaces all objects that a pickle asks for by stand-ins."""

    def __init__(self, file: io.BytesIO, modules: Sequence[str], known: Sequence[tuple[str, str]]) -> None:
        # fix_imports would change names of Python 2 after they were checked.
        super().__init__(file, fix_imports=False)
        self._modules = modules
        self._known = known

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a stand-in for an allowed object."""
        place = (module, name)
        if place in self._known:
            return _stand_in(place, _itself)
        if place == _GETATTR:
            return _GetAttr
        found = find(module, name, self._modules, super().find_class)
        # Each call of an enumeration returns the same members.
        is_shared = isinstance(found, enum.EnumType)
        returns = _itself if is_shared else _argument if place == _SAME else None
        return _stand_in(place, returns, _attributes(self._modules, found))


class _Found(type):
    """The class of stand-ins for objects found by name: they refuse each change that a pickle could ask for."""

    place: tuple[str, str]
    attributes: tuple[str, ...]

    @property
    def _change(cls) -> NoReturn:
        _refuse(*cls.place, "the pickle would change it, which values do not need")

    __setstate__ = append = extend = add = _change

    def __setitem__(cls, *_: Any) -> None:
        cls._change  # noqa: B018 - it raises


class _StandIn(metaclass=_Found):
    """Accepts everything that a pickle does with the objects that it makes."""

    place = ("", "")
    attributes = ()

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __call__(self, *_: Any) -> NoReturn:
        _refuse(*self.place, "the pickle would call its return value, which values do not need")

    def _accept(self, *_: Any) -> "_StandIn":
        return self

    __setitem__ = __setstate__ = append = extend = add = _accept


class _GetAttr(_StandIn):
    """Stands for getattr."""

    place = _GETATTR

    def __new__(cls, owner: Any, name: Any) -> Any:
        if not isinstance(owner, _Found) or name not in owner.attributes:
            _refuse_attribute(name)
        return _stand_in(_GETATTR)


@functools.lru_cache(maxsize=1000)
def _stand_in(
    place: tuple[str, str], returns: Callable[..., Any] | None = None, attributes: tuple[str, ...] = ()
) -> type:
    """Return the stand-in for the object at that place.

    :param returns: what a call of it returns, if that is not a new object.
    :param attributes: the attributes that getattr may read.
    """
    facts = {"place": place, "attributes": attributes}
    return _Found("_StandIn", (_StandIn,), facts | ({"__new__": returns} if returns else {}))


def _itself(cls: type, *_: Any, **__: Any) -> type:
    return cls


def _argument(_: type, argument: Any) -> Any:
    return argument
