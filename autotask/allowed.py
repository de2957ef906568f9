"""What may be unpickled where AUTOTASK_PICKLE_ALLOWED is set: a second wall, behind the signature."""

import builtins
import enum
import functools
import io
import pickle
import zoneinfo
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from autotask.exceptions import NotAllowed

#: Values of everyday life, which can do no harm. Never a function that takes a name or code, nor one that calls at once a
#: function that it is given. Each entry has a value in the tests that needs it.
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

#: Returns its argument, so a class that is passed through it is still that class.
_SAME = ("django.utils.functional", "unpickle_lazyobject")

Find = Callable[[str, str], Any]


def find(module: str, name: str, modules: Sequence[str], find_class: Find) -> Any:
    """Return what a pickle asks for by name.

    :param modules: whose functions and classes are allowed, with those of the modules inside them.
    :param find_class: imports it.
    :raises NotAllowed: it is of another module, and none of the values of everyday life.
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
    # What a module has imported can be found in it too, but is not its own: "shop.tasks" may well have "os.system".
    if not _is_in(getattr(found, "__module__", None), modules):
        _refuse(module, name, f"{module} is not among the modules of AUTOTASK_PICKLE_ALLOWED")
    if "." in name and not isinstance(found, type):
        _refuse(module, name, "of what is in a class, only classes are")
    return found


def examine(body: bytes, modules: Sequence[str], *known: tuple[str, str], pickles: int = 1) -> None:
    """Read through a pickle without making anything of it.

    Besides what it asks for, this looks at what it does with that: it may call it and pass it on, but not change it. A
    pickle could otherwise set attributes of classes and functions, and so change what the process does from then on.

    :param known: what may be asked for besides.
    :param pickles: how many there are, one behind the other.
    :raises NotAllowed: it asks for what is not allowed.
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
    """Return what getattr is needed for: members of enumerations of listed modules, and what makes a time zone."""
    if isinstance(owner, enum.EnumType) and _is_in(owner.__module__, modules):
        return tuple(owner.__members__)
    return ("_unpickle",) if owner is zoneinfo.ZoneInfo else ()


def _refuse_attribute(name: Any) -> NoReturn:
    _refuse(_GETATTR[0], f"getattr of {name!s:.100}", "only enumerations and time zones need it, for what they are")


class _Examiner(pickle.Unpickler):
    """Puts stand-ins in the place of whatever a pickle asks for."""

    def __init__(self, file: io.BytesIO, modules: Sequence[str], known: Sequence[tuple[str, str]]) -> None:
        # Names of Python 2 would become others after they were looked at.
        super().__init__(file, fix_imports=False)
        self._modules = modules
        self._known = known

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a stand-in for what is allowed."""
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
    """The class of stand-ins for what is found by name: they refuse each change that a pickle could ask for."""

    place: tuple[str, str]
    attributes: tuple[str, ...]

    @property
    def _change(cls) -> NoReturn:
        _refuse(*cls.place, "it would be changed, and values do not need that")

    __setstate__ = append = extend = add = _change

    def __setitem__(cls, *_: Any) -> None:
        cls._change  # noqa: B018 - it raises


class _StandIn(metaclass=_Found):
    """Lets everything be done to it that a pickle does with what it makes."""

    place = ("", "")
    attributes = ()

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __call__(self, *_: Any) -> NoReturn:
        _refuse(*self.place, "what it returns would be called, and values do not need that")

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
    """Return the stand-in for what has that place.

    :param returns: what a call of it returns, if that is nothing new.
    :param attributes: what getattr may take of it.
    """
    facts = {"place": place, "attributes": attributes}
    return _Found("_StandIn", (_StandIn,), facts | ({"__new__": returns} if returns else {}))


def _itself(cls: type, *_: Any, **__: Any) -> type:
    return cls


def _argument(_: type, argument: Any) -> Any:
    return argument
