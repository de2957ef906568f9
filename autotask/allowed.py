"""What may be unpickled where AUTOTASK_PICKLE_ALLOWED is set: a second wall, behind the signature."""

import builtins
import functools
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from autotask.exceptions import NotAllowed

#: Values of everyday life, which can do no harm. Never a function that takes a function, a name or code.
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

Find = Callable[[str, str], Any]


def find(module: str, name: str, modules: Sequence[str], find_class: Find) -> Any:
    """Return what a pickle asks for by name.

    :param modules: whose functions and classes are allowed, with those of the modules inside them.
    :param find_class: imports it.
    :raises NotAllowed: it is of another module, and none of the values of everyday life.
    """
    if name in _ALWAYS.get(module, ()) or _is_exception(module, name):
        return find_class(module, name)
    if (module, name) == ("builtins", "getattr"):
        return functools.partial(_attribute, modules)
    found = find_class(module, name) if _is_in(module, modules) else None
    # What a module has imported can be found in it too, but is not its own: "shop.tasks" may well have "os.system".
    if not _is_in(getattr(found, "__module__", None), modules):
        raise NotAllowed(module=module, name=name)
    return found


def examine(body: bytes, modules: Sequence[str], *known: tuple[str, str]) -> None:
    """Read through a pickle without making anything of it.

    :param known: what may be asked for besides.
    :raises NotAllowed: it asks for what is not allowed.
    """
    _Examiner(body, modules, known).load()


def _is_in(module: Any, modules: Sequence[str]) -> bool:
    return isinstance(module, str) and any(module == one or module.startswith(f"{one}.") for one in modules)


def _is_exception(module: str, name: str) -> bool:
    found = getattr(builtins, name, None) if module == "builtins" else None
    return isinstance(found, type) and issubclass(found, BaseException)


def _attribute(modules: Sequence[str], owner: Any, name: str) -> Any:
    """Return an attribute of a class that is allowed: pickles of enumerations and time zones ask for them."""
    is_allowed = isinstance(owner, type) and (
        owner.__name__ in _ALWAYS.get(owner.__module__, ()) or _is_in(owner.__module__, modules)
    )
    if not is_allowed or name.startswith("__"):
        raise NotAllowed(module="builtins", name=f"getattr of {name}")
    return getattr(owner, name)


class _Examiner(pickle.Unpickler):
    """Puts stand-ins in the place of whatever a pickle asks for."""

    def __init__(self, body: bytes, modules: Sequence[str], known: Sequence[tuple[str, str]]) -> None:
        super().__init__(io.BytesIO(body))
        self._modules = modules
        self._known = known

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a stand-in for what is allowed."""
        if (module, name) not in self._known:
            find(module, name, self._modules, super().find_class)
        return _StandIn


class _StandIn:
    """Lets everything be done to it that a pickle does with what it makes."""

    def __new__(cls, *_: Any, **__: Any) -> "_StandIn":
        return super().__new__(cls)

    def _accept(self, *_: Any) -> "_StandIn":
        return self

    __call__ = __setitem__ = __setstate__ = append = extend = add = _accept
