"""JSON schemas made of type hints, for tasks without one: they describe the arguments of a call, but refuse nothing."""

import enum
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from autotask.parameters import WHOLE, Parameters

_SIMPLE: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    time: {"type": "string", "format": "time"},
    timedelta: {"type": "string", "format": "duration"},
    uuid.UUID: {"type": "string", "format": "uuid"},
    Decimal: {"type": "string"},
}

#: Defaults of other types are left out.
_PLAIN = (bool, int, float, str, type(None))

#: The depth to which types that refer to themselves are searched.
_DEEPEST = 8


def schema(signature: inspect.Signature, function: Callable[..., Any]) -> dict[str, Any]:
    """Return the JSON schema of the object that describes a call.

    :param signature: that of the function, without its context.
    :param function: has the hints. What cannot be found or expressed allows any value.
    """
    known = _hints(function)
    parameters = signature.parameters
    if Parameters(signature).are_whole:
        return {"type": "object"} | _schema(known.get(WHOLE, Any), 0)
    properties: dict[str, Any] = {}
    others: Any = False
    for name, parameter in parameters.items():
        inner = _schema(known.get(name, Any), 0)
        if parameter.kind is parameter.VAR_KEYWORD:
            others = inner or True
        elif parameter.kind is parameter.VAR_POSITIONAL:
            properties[name] = {"type": "array", "items": inner} if inner else {"type": "array"}
        else:
            properties[name] = inner | _default(parameter.default)
    needed = [
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    found = {"type": "object", "properties": properties, "additionalProperties": others}
    return {**found, "required": needed} if needed else found


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function))
    except Exception:  # a name that only type checkers know, or whatever an expression in a hint raises
        return {}


def _default(value: Any) -> dict[str, Any]:
    return {"default": value} if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum) else {}


def _schema(hint: Any, depth: int) -> dict[str, Any]:
    """Return the schema of a type; empty, which allows any value, for one that JSON knows nothing of."""
    try:
        if hint in _SIMPLE:
            return dict(_SIMPLE[hint])
    except TypeError:  # it cannot be hashed
        return {}
    if depth > _DEEPEST:
        return {}
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _any_of([_schema(one, depth + 1) for one in inner])
    if origin is typing.Literal:
        return _values([value.value if isinstance(value, enum.Enum) else value for value in inner])
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return _schema(inner[0], depth + 1)
    if typing.is_typeddict(hint):
        return _typed_dict(hint, depth)
    kind = origin or hint
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, enum.Enum):
        return _values([member.value for member in kind])
    return _container(kind, inner, depth)


def _container(kind: type, inner: tuple[Any, ...], depth: int) -> dict[str, Any]:
    if issubclass(kind, Mapping):
        values = _schema(inner[1], depth + 1) if len(inner) == 2 else {}
        return {"type": "object", "additionalProperties": values} if values else {"type": "object"}
    if issubclass(kind, tuple) and inner and inner[-1] is not Ellipsis:
        places = [_schema(one, depth + 1) for one in inner]
        return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}
    if issubclass(kind, (bytes, bytearray, str)) or not issubclass(kind, Collection):
        return {}
    found = {"type": "array"} | ({"uniqueItems": True} if issubclass(kind, Set) else {})
    items = _schema(inner[0], depth + 1) if inner and issubclass(kind, (Sequence, Set)) else {}
    return {**found, "items": items} if items else found


def _typed_dict(hint: Any, depth: int) -> dict[str, Any]:
    properties = {name: _schema(one, depth + 1) for name, one in _hints(hint).items()}
    return {"type": "object", "properties": properties, "required": sorted(hint.__required_keys__)}


def _any_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if not all(parts):
        return {}
    if all(set(part) == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def _values(values: list[Any]) -> dict[str, Any]:
    return {"enum": values} if all(isinstance(value, _PLAIN) for value in values) else {}
