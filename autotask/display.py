"""Arguments as people are shown them: short, safe to make, with secrets masked."""

import datetime
import decimal
import enum
import inspect
import reprlib
import uuid
from typing import Any

from autotask.conf import settings

MASK = "•••"

#: Longest text that is stored for the arguments of one task.
LONGEST = 500

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
    shown = _Shortened().shown(bound)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


class _Shortened(reprlib.Repr):
    """A repr() that cuts off, masks, and never runs the __repr__ of a class it does not know.

    That could be slow, raise, or, for a queryset, ask the database.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self._words = tuple(word.lower() for word in settings.MASKED_ARGUMENTS)

    def shown(self, bound: inspect.BoundArguments) -> str:
        parts = []
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                parts += [self.repr(item) for item in value]
            elif kind is inspect.Parameter.VAR_KEYWORD:
                parts += [f"{key}={self._masked(key, item)}" for key, item in value.items()]
            else:
                parts.append(f"{name}={self._masked(name, value)}")
        return ", ".join(parts)

    def repr1(self, x: Any, level: int) -> str:
        if type(x) in (str, int, list, tuple, set, frozenset, dict):
            return super().repr1(x, level)
        if isinstance(x, _PLAIN) and type(x).__module__ in ("builtins", "datetime", "decimal", "uuid"):
            return repr(x)
        if isinstance(x, (bytes, bytearray)):
            return f"<{len(x)} bytes>"
        if isinstance(x, enum.Enum):
            return f"{type(x).__name__}.{x.name}"
        pk = x.__dict__.get("id") if hasattr(x, "_meta") and hasattr(x, "__dict__") else None
        return f"<{type(x).__name__}{'' if pk is None else f' {pk!r}'}>"

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{…}"
        shown = [
            f"{self.repr1(key, level - 1)}: {self._masked(key, item, level - 1)}"
            for key, item in list(x.items())[: self.maxdict]
        ]
        return "{" + ", ".join(shown + (["…"] if len(x) > self.maxdict else [])) + "}"

    def _masked(self, name: Any, value: Any, level: int | None = None) -> str:
        if isinstance(name, str) and any(word in name.lower() for word in self._words):
            return MASK
        return self.repr1(value, self.maxlevel if level is None else level)
