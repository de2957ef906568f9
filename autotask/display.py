"""Arguments as text: short, safe to make, with secrets masked."""

import datetime
import decimal
import enum
import functools
import inspect
import itertools
import reprlib
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from autotask.conf import settings
from autotask.texts.masks import LONGEST_NAME, LONGEST_TEXT, MASK, Masks

#: Longest text for the arguments of one task.
LONGEST = 500

#: The most characters to search for secrets in the arguments of one task. The rest would be cut off anyway.
MOST_LOOKED_THROUGH = 100_000

_SMALL = 10**18

_NUMBERS = frozenset({int})

#: Characters of the numbers among some arguments, up to which all of them are shown in full.
_SHORT = 40

#: Dicts of a name and a value, as lists of headers or variables often have them.
_NAMES = ("name", "key", "header")
_VALUES = ("value", "values", "content")

#: Types whose repr() is short and runs no foreign code.
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


class Positional:
    """Shows the same for calls by position only of one function; which parameters are secret is found out once.

    :param names: the names of its parameters.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._masked: tuple[str, ...] | None = None
        self._prepared: Callable[[Sequence[Any]], str]

    def shown(self, values: Sequence[Any]) -> str:
        """Return the arguments of a call as text."""
        return self.prepared()(values)

    def prepared(self) -> Callable[[Sequence[Any]], str]:
        """Return the function that shows the arguments of each call as text, as the settings say now."""
        masked = settings.MASKED_ARGUMENTS
        if masked is not self._masked:
            shortened = _shortened(masked)
            parameters = tuple((f"{name}=", shortened.is_secret(name)) for name in self._names)
            show = functools.partial(shortened.named, parameters)
            is_secret = any(secret for _, secret in parameters)
            self._prepared, self._masked = show if is_secret else _quick_for_numbers(self._names, show), masked
        return self._prepared


def _quick_for_numbers(names: Sequence[str], show: Callable[[Sequence[Any]], str]) -> Callable[[Sequence[Any]], str]:
    """Return a function that shows the same, integers in a third of the time: most arguments are keys of rows."""
    forms = ["=%d, ".join([*names[:number], ""])[:-2] for number in range(len(names) + 1)]

    def shown(values: Sequence[Any]) -> str:
        if type(values) is tuple and _NUMBERS.issuperset(map(type, values)) and len(values) < len(forms):
            form = forms[len(values)]
            try:
                text = form % values
            except ValueError:  # thousands of digits, which Python refuses to write
                return show(values)
            if len(text) < len(form) + _SHORT <= LONGEST:
                return text
        return show(values)

    return shown


def masks() -> Masks:
    """Return the masks that recognise secrets, made from the current settings."""
    return _shortened(settings.MASKED_ARGUMENTS).masks


def masked(text: str) -> str:
    """Return a text that is longer than arguments may be, with its secrets masked, if it is not too long to search."""
    return masks().text(text) if len(text) <= LONGEST_TEXT else MASK


def masked_values(value: Any) -> Any:
    """Return JSON values with their secrets masked: by their names, and those within texts."""
    if isinstance(value, dict):
        is_secret = masks().is_secret
        return {name: MASK if is_secret(name) else masked_values(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked_values(each) for each in value]
    return masked(value) if isinstance(value, str) else value


def _cut(shown: str) -> str:
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


@functools.lru_cache(maxsize=8)
def _shortened(masked: tuple[str, ...]) -> "_Shortened":
    return _Shortened(masked)


class _Left(threading.local):
    """The number of characters that may still be searched for the call that this thread shows."""

    characters = 0


class _Shortened(reprlib.Repr):
    """A repr() that cuts off, masks, and never runs the __repr__ of an unknown class.

    That could be slow, raise or, for a queryset, query the database.
    """

    def __init__(self, masked: tuple[str, ...]) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.masks = Masks(masked)
        self._left = _Left()

    def named(self, parameters: Sequence[tuple[str, bool]], values: Sequence[Any]) -> str:
        """Return the first parameters with these values; each parameter is its name and "=", and whether it is secret."""
        self._left.characters = MOST_LOOKED_THROUGH
        shown = ", ".join(
            [
                begin + (MASK if secret else self.repr1(value, self.maxlevel))
                for (begin, secret), value in zip(parameters, values, strict=False)
            ]
        )
        return shown if len(shown) <= LONGEST else _cut(shown)

    def shown(self, bound: inspect.BoundArguments) -> str:
        self._left.characters = MOST_LOOKED_THROUGH
        parts = []
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                parts += [self._masked(name, item) for item in self._without_secrets(value)]
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
        # By the type, because an instance may run code of its own: a lazy object would fetch its row.
        kind = type(x)
        if issubclass(kind, _PLAIN) and kind.__module__ in ("builtins", "datetime", "decimal", "uuid"):
            return repr(x)
        if kind is _Masked:
            return MASK
        if issubclass(kind, (bytes, bytearray)):
            return f"<{bytes.__len__(x) if issubclass(kind, bytes) else bytearray.__len__(x)} bytes>"
        if issubclass(kind, enum.Enum):
            return f"{kind.__name__}.{x._name_}"
        pk = getattr(x, "__dict__", {}).get("id") if hasattr(kind, "_meta") else None
        return f"<{kind.__name__} {self.repr1(pk, 1)}>" if type(pk) in (int, str, uuid.UUID) else f"<{kind.__name__}>"

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out a number of thousands of digits.
        return super().repr_int(x, level) if x.bit_length() < 10_000 else f"<int of {x.bit_length()} bits>"

    def repr_str(self, x: str, level: int) -> str:
        if self._left.characters <= 0:
            return "…"
        self._left.characters -= min(len(x), LONGEST_TEXT)
        if len(x) <= LONGEST_TEXT:
            return super().repr_str(self.masks.text(x), level)
        # The end of a long text is not shown: it may be part of a secret whose beginning was not searched for.
        return super().repr_str(f"{self.masks.text(x[:LONGEST_TEXT])[: self.maxstring - 3]}...", level)

    def repr_list(self, x: list[Any], level: int) -> str:
        return super().repr_list(self._without_secrets(x[: self.maxlist + 1]), level)

    def repr_tuple(self, x: tuple[Any, ...], level: int) -> str:
        return super().repr_tuple(tuple(self._without_secrets(x[: self.maxtuple + 1])), level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        if level <= 0:
            return "{…}"
        items = list(itertools.islice(x.items(), self.maxdict))
        if any(type(key) is str and key.lower() in _NAMES and self.is_secret(item) for key, item in items):
            items = [(key, _Masked() if type(key) is str and key.lower() in _VALUES else item) for key, item in items]
        shown = [f"{self.repr1(key, level - 1)}: {self._masked(key, item, level - 1)}" for key, item in items]
        return "{" + ", ".join(shown + (["…"] if len(x) > self.maxdict else [])) + "}"

    def _masked(self, name: Any, value: Any, level: int | None = None) -> str:
        if self.is_secret(name):
            return MASK
        return self.repr1(value, self.maxlevel if level is None else level)

    def _without_secrets(self, items: Sequence[Any]) -> list[Any]:
        """Mask the item after the name of a secret, in a pair, or in a list of words for a command line."""
        shown = list(items)
        is_pair = len(shown) == 2
        for index, item in enumerate(shown[:-1]):
            if type(item) not in (str, bytes) or len(item) > LONGEST_NAME:
                continue
            if is_pair or _is_flag(item if type(item) is str else item.decode("latin-1")):
                shown[index + 1] = _Masked() if self.is_secret(item) else shown[index + 1]
        return shown

    def is_secret(self, name: Any) -> bool:
        kind = type(name)
        if issubclass(kind, enum.Enum):
            name = name._name_
        if issubclass(kind, bytes):
            name = bytes.decode(bytes.__getitem__(name, slice(LONGEST_NAME)), "latin-1")
        return issubclass(type(name), str) and self.masks.is_secret(str.__getitem__(name, slice(LONGEST_NAME)))


def _is_flag(word: str) -> bool:
    return word.startswith("-") and "=" not in word


class _Masked:
    """Stands for a masked secret."""
