"""Arguments as people are shown them: short, safe to make, with secrets masked."""

import datetime
import decimal
import enum
import functools
import inspect
import reprlib
import uuid
from collections.abc import Sequence
from typing import Any

from autotask.conf import settings

MASK = "•••"

#: Longest text that is stored for the arguments of one task.
LONGEST = 500

_SMALL = 10**18

#: Values whose repr() is short and runs no code of others.
_PLAIN = (
    bool,
    int,
    float,
    complex,
    type(None),
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)


def arguments(bound: inspect.BoundArguments) -> str:
    """Return the arguments of a call as text, like ``user_id=3, token=•••``."""
    return _cut(_shortened(settings.MASKED_ARGUMENTS).shown(bound))


def positional(names: Sequence[str], values: Sequence[Any]) -> str:
    """Return the same for a call by position only: the first values of parameters with these names."""
    return _cut(_shortened(settings.MASKED_ARGUMENTS).named(names, values))


def _cut(shown: str) -> str:
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


@functools.lru_cache(maxsize=8)
def _shortened(masked: tuple[str, ...]) -> "_Shortened":
    return _Shortened(masked)


class _Shortened(reprlib.Repr):
    """A repr() that cuts off, masks, and never runs the __repr__ of a class it does not know.

    That could be slow, raise, or, for a queryset, ask the database.
    """

    def __init__(self, masked: tuple[str, ...]) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self._words = tuple(word.lower() for word in masked)

    def named(self, names: Sequence[str], values: Sequence[Any]) -> str:
        return ", ".join([f"{name}={self._masked(name, value)}" for name, value in zip(names, values, strict=False)])

    def shown(self, bound: inspect.BoundArguments) -> str:
        parts = []
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                parts += [self._masked(name, item) for item in value]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                parts += [f"{key}={self._masked(f'{name} {key}', item)}" for key, item in value.items()]
            else:
                parts.append(f"{name}={self._masked(name, value)}")
        return ", ".join(parts)

    def repr1(self, x: Any, level: int) -> str:
        if type(x) is int and -_SMALL < x < _SMALL:
            return repr(x)  # Most arguments are keys.
        if type(x) in (str, int, list, tuple, set, frozenset, dict):
            return super().repr1(x, level)
        # Asked of the type, because an instance may answer with code of its own: a lazy object would fetch its row.
        kind = type(x)
        if issubclass(kind, _PLAIN) and kind.__module__ in ("builtins", "datetime", "decimal", "uuid"):
            return repr(x)
        if issubclass(kind, (bytes, bytearray)):
            return f"<{bytes.__len__(x) if issubclass(kind, bytes) else bytearray.__len__(x)} bytes>"
        if issubclass(kind, enum.Enum):
            return f"{kind.__name__}.{x._name_}"
        pk = getattr(x, "__dict__", {}).get("id") if hasattr(kind, "_meta") else None
        return f"<{kind.__name__} {self.repr1(pk, 1)}>" if type(pk) in (int, str, uuid.UUID) else f"<{kind.__name__}>"

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"<int of {x.bit_length()} bits>"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{…}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self._masked(key, item, level - 1)}"
            for key, item in list(x.items())[: self.maxdict]
        ]
        return "{" + ", ".join(shown + (["…"] if len(x) > self.maxdict else [])) + "}"

    def _masked(self, name: Any, value: Any, level: int | None = None) -> str:
        if self._is_secret(name):
            return MASK
        return self.repr1(value, self.maxlevel if level is None else level)

    def _is_secret(self, name: Any) -> bool:
        if issubclass(type(name), bytes):
            name = bytes.decode(name, "latin-1")
        if not issubclass(type(name), str):
            return False
        return _contains(self._words, str.lower(name))


@functools.lru_cache(maxsize=1000)
def _contains(words: tuple[str, ...], name: str) -> bool:
    return any(word in name for word in words)
