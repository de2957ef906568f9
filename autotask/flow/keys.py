"""Keys: which of a task's arguments count, and the readable text that they make; different values make different texts."""

import hashlib
import inspect
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal
from uuid import UUID

from autotask.exceptions import InvalidOption, InvalidOptionType, UnsuitableKey
from autotask.texts.masks import LONGEST_TEXT, Masks
from autotask.values import nearest

#: All arguments, the name of a parameter, the names of several, or a function of the task's arguments.
Key = Literal[True] | str | Sequence[str] | Callable[..., Any]

#: In characters. A longer text is cut, and ends with its hash.
LONGEST_KEY = 200

#: In bytes, of hashes in keys.
_HASH = 16

_INTEGERS = frozenset({int})

_SECOND = timedelta(seconds=1)

#: Decimal numbers with more digits than these are written with an exponent.
_MOST_ZEROS = 30


def checked_key(value: Any, option: str, where: str) -> Key | None:
    """Return a key, with several names as a tuple.

    :param where: the definition, for messages.
    :raises InvalidOptionType: it is none.
    :raises InvalidOption: it is an empty name, or no names at all.
    """
    if value is None or value is True or callable(value):
        return value  # type: ignore[no-any-return]  # checked in the line above
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise InvalidOptionType(
            option=option,
            where=where,
            expected="True, the name of a parameter, a list of names, or a function of the arguments",
            value=value,
            type=type(value).__name__,
        )
    if not names or not all(names) or len(set(names)) < len(names):
        raise InvalidOption(option=option, where=where, expected="one or more names of parameters", value=value)
    return value if isinstance(value, str) else tuple(names)


def refuse_unknown_names(key: Key | None, option: str, known: Collection[str], what: str, where: str) -> None:
    """Refuse a key with a name that is not a parameter of the task function.

    :param known: the names of its parameters.
    :param what: the word for these.
    :raises InvalidOption: it has one.
    """
    for name in names(key):
        if name not in known:
            listed = ", ".join(map(repr, known)) or "it has none"
            expected = f"made of {what} ({listed}){nearest(name, known)}"
            raise InvalidOption(option=option, where=where, expected=expected, value=name)


def refuse_unfit_function(given: Any, option: str, signature: inspect.Signature, where: str) -> None:
    """Refuse a function of the arguments that cannot be called as the task function would be.

    :param given: the key or the cost; if it is no function, there is nothing to refuse.
    :param signature: that of the task function, without the context.
    :raises InvalidOption: it does not take these arguments.
    """
    if not callable(given):
        return
    parameters = signature.parameters.values()
    of_any_number = any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters)
    # Of these it is known only at the call how many there are.
    arguments = None if of_any_number else inspect.BoundArguments(signature, dict.fromkeys(signature.parameters))
    expected = f"a function that takes the arguments of the task function, {signature}"
    refuse_unfit_call(given, arguments, option, where, expected)


#: Kinds of functions of which a call runs nothing.
_NOT_PLAIN: dict[str, Callable[[Any], bool]] = {
    "a coroutine": inspect.iscoroutinefunction,
    "a generator": inspect.isgeneratorfunction,
    "an async generator": inspect.isasyncgenfunction,
}


def refuse_unfit_call(
    function: Callable[..., Any], arguments: inspect.BoundArguments | None, option: str, where: str, expected: str
) -> None:
    """Refuse a function that cannot be called with these arguments, or returns a coroutine or a generator: nobody would run it.

    :param arguments: None: only the call decides whether they fit.
    :raises InvalidOption: it is one of these.
    """
    for kind, is_one in _NOT_PLAIN.items():
        if is_one(function) or is_one(type(function).__call__):
            raise InvalidOption(option=option, where=where, expected=f"a plain function, not {kind}", value=function)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some built-in functions do not say what they take
    try:
        if arguments is not None:
            signature.bind(*arguments.args, **arguments.kwargs)
    except TypeError:
        raise InvalidOption(option=option, where=where, expected=expected, value=function) from None


def names(key: Key | None) -> tuple[str, ...]:
    """Return the names of parameters in a key."""
    if key is None or key is True or callable(key):
        return ()
    return (key,) if isinstance(key, str) else tuple(key)


@dataclass(frozen=True)
class KeyWriter:
    """Writes keys.

    :ivar masks: knows which arguments are secret: these appear as hashes only.
    :ivar pepper: up to 64 secret bytes; without them, nobody can find a short secret by its hash.
    """

    masks: Masks
    pepper: bytes = b""

    def text(self, key: Key, arguments: inspect.BoundArguments, option: str, task: str) -> str:
        """Return the text of a key for the arguments of one call, with at most :data:`LONGEST_KEY` characters.

        :param option: the option with the key, for messages.
        :raises UnsuitableKey: a value is not one that keys can be made of.
        """
        try:
            if isinstance(key, str):
                whole = f"{key}={self._named(key, arguments.arguments[key])}"
            elif callable(key):
                whole = self._of_function(key(*arguments.args, **arguments.kwargs))
            else:
                chosen = (
                    arguments.arguments if key is True else {name: arguments.arguments[name] for name in names(key)}
                )
                whole = ", ".join(f"{name}={self._named(name, value)}" for name, value in chosen.items())
        except _Unsuitable as unsuitable:
            raise UnsuitableKey(option=option, task=task, what=unsuitable.what, advice=unsuitable.advice) from None
        if len(whole) <= LONGEST_KEY:
            return whole
        return f"{whole[: LONGEST_KEY - 2 * _HASH - 2]}…{self._hash(whole)}"

    def prepared(self, key: Key, parameters: Sequence[str]) -> Callable[[Sequence[Any]], str | None]:
        """Return a writer of the same for calls by position, if all values of the key are integers; None for other calls.

        Most keys are those of rows, and this takes a tenth of the time.

        :param parameters: the names of all parameters.
        """
        chosen = tuple(parameters) if key is True else names(key)
        known = {name: place for place, name in enumerate(parameters)}
        if callable(key) or not known.keys() >= set(chosen) or any(map(self.masks.is_secret, chosen)):
            return lambda values: None
        form, places = ", ".join(f"{name}=%d" for name in chosen), [known[name] for name in chosen]
        most = max(places, default=0)

        def text(values: Sequence[Any]) -> str | None:
            if len(values) <= most:
                return None
            picked = tuple([values[place] for place in places])
            if not _INTEGERS.issuperset(map(type, picked)):
                return None
            try:
                whole = form % picked
            except ValueError:  # thousands of digits, which Python refuses to write
                return None
            return whole if len(whole) <= LONGEST_KEY else None

        return text

    def _of_function(self, value: Any) -> str:
        if isinstance(value, tuple):  # without parentheses: "7, 8", and "7," for one value
            return ", ".join(map(self._value, value)) + ("," if len(value) == 1 else "")
        return self._value(value)

    def _named(self, name: Any, value: Any) -> str:
        text = self._value(value)
        return self._hash(text) if isinstance(name, str) and self.masks.is_secret(name) else text

    def _hash(self, text: str) -> str:
        return "#" + hashlib.blake2b(text.encode(), digest_size=_HASH, key=self.pepper).hexdigest()

    def _value(self, value: Any) -> str:
        if type(value) is int:
            return _int(value)  # by far the most frequent ones: without a look at all other types
        if isinstance(value, (str, bytes)):
            return self._string(value)
        if isinstance(value, (tuple, list)):
            inner = ", ".join(map(self._value, value))
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)" if len(value) == 1 else f"({inner})"
        if isinstance(value, Set):
            return f"{{{', '.join(sorted(map(self._value, value)))}}}" if value else "set()"
        if isinstance(value, dict):
            return f"{{{', '.join(sorted(self._items(value)))}}}"
        return _simple(value)

    def _items(self, value: dict[Any, Any]) -> Iterator[str]:
        return (f"{self._value(key)}: {self._named(key, item)}" for key, item in value.items())

    def _string(self, value: str | bytes) -> str:
        # Of members of enumerations that are strings, the string counts: a field of a model has either of them.
        text = str.__repr__(value) if isinstance(value, str) else bytes.__repr__(value)
        head = text[:LONGEST_TEXT]
        return text if self.masks.text(head) == head else self._hash(text)


class _Unsuitable(Exception):
    """A value that keys cannot be made of."""

    def __init__(self, what: str, advice: str) -> None:
        self.what = what
        self.advice = advice


def _simple(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return repr(value)
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    if hasattr(value, "_meta") and hasattr(value, "pk") and not isinstance(value, type):
        return _instance(value)
    raise _Unsuitable(
        f"a value of type {type(value).__name__}",
        "Give the names of other parameters, or a function of the arguments that returns a number, a string or a tuple.",
    )


def _instance(value: Any) -> str:
    if value.pk is None:
        raise _Unsuitable(f"an unsaved {type(value).__name__}", "Save it first.")
    # Instances of a proxy are equal to those of its model.
    model = getattr(value._meta, "concrete_model", None) or value
    return f"{model._meta.label_lower}:{_primary_key(value.pk)}"


def _primary_key(pk: Any) -> str:
    if isinstance(pk, tuple):  # a composite one
        return f"({', '.join(map(_primary_key, pk))})"
    return str.__repr__(pk) if isinstance(pk, str) else _simple(pk)


def _int(value: int) -> str:
    # Python refuses to write numbers of more than 4300 digits as decimal numbers.
    return int.__repr__(value) if value.bit_length() < 1000 else hex(value)


def _decimal(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return f"Decimal({value})"
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if digits == (0,):
        return "Decimal(0)"
    shortest = Decimal((sign, digits, exponent))
    return f"Decimal({shortest:f})" if abs(exponent) < _MOST_ZEROS else f"Decimal({shortest})"


def _datetime(value: datetime) -> str:
    if value.utcoffset() is None:
        return datetime.isoformat(value)
    try:
        return datetime.isoformat(value.astimezone(UTC))
    except OverflowError:  # within a day of the first or last moment that a datetime can have
        return datetime.isoformat(value)


def _timedelta(value: timedelta) -> str:
    seconds, rest = divmod(value, _SECOND)
    return f"{value // timedelta(microseconds=1)}us" if rest else f"{seconds}s"


def _enum(value: Enum) -> str:
    cls = type(value)
    return f"{cls.__module__}.{cls.__qualname__}.{value.name or value.value}"  # combinations of flags may have no name


#: The first that fits counts: an enumeration of numbers is a number, a datetime is a date.
_WRITERS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (int, _int),
    (float, lambda value: float.__repr__(value + 0.0)),  # −0.0 is equal to 0.0
    (Enum, _enum),
    (Decimal, _decimal),
    (UUID, str),
    (datetime, _datetime),
    (date, date.isoformat),
    (time, time.isoformat),
    (timedelta, _timedelta),
)
