"""JSON schemas of arguments: refused where they are written if they are wrong, made ready once, applied to each call.

This is the only module that imports jsonschema, of the extra ``schema``, and only when a task has a schema.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from autotask.exceptions import ExtraMissing, InvalidOption, InvalidOptionType

#: That of schemas without ``$schema``.
_DIALECT = "https://json-schema.org/draft/2020-12/schema"

#: Keywords whose values are values, not schemas.
_VALUES = ("const", "default", "enum", "examples")

#: The letters of IRIs that URIs do not have: anywhere, and in a query (RFC 3987, section 2.2).
_LETTERS = "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef" + "".join(
    f"{chr(plane << 16 | (0x1000 if plane == 14 else 0))}-{chr(plane << 16 | 0xFFFD)}" for plane in range(1, 15)
)
_IN_IRIS = re.compile(f"[{_LETTERS}]")
_IN_QUERIES = re.compile(f"[{_LETTERS}\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")

#: The most errors of one call that are listed.
MOST_ERRORS = 50

#: In characters. A message of jsonschema holds the whole value that does not fit.
LONGEST_MESSAGE = 300


class _Validator(Protocol):
    def iter_errors(self, instance: Any, /) -> Any: ...


class Schema:
    """A JSON schema. Without ``$schema``, it is one of draft 2020-12.

    :param document: the schema: a dict of JSON values.
    :param where: the definition, for messages.
    :raises InvalidOption: it is not a valid schema.
    :raises InvalidOptionType: it is not a dict, or JSON cannot hold it.
    :raises ExtraMissing: jsonschema is not installed.

    :ivar document: a copy of it. Do not change it.
    """

    __slots__ = ("_validator", "document")

    def __init__(self, document: Mapping[str, Any], where: str) -> None:
        self.document = _copied(document, where)
        self._validator = _made(self.document, where) if self.document else None

    def errors(self, value: Any) -> list[dict[str, str]]:
        """Return why a value does not fit: objects with ``path`` (such as ``rows[0].price``), ``rule`` and ``message``.

        ``rule`` is the keyword of the schema. An empty list: the value fits.
        """
        if self._validator is None:
            return []
        try:
            return [_shown(error) for error in islice(self._validator.iter_errors(value), MOST_ERRORS)]
        except (ArithmeticError, RecursionError, ValueError) as error:  # such as a number that is too large to divide
            return [{"path": "", "rule": "", "message": f"it cannot be checked: {type(error).__name__}: {error}"}]


def checked(value: Any, where: str) -> Schema:
    """Return the value of the option ``json_schema``, made ready; see :class:`Schema`."""
    return value if isinstance(value, Schema) else Schema(value, where)


def _copied(document: Any, where: str) -> dict[str, Any]:
    """Return a deep copy of a schema, as JSON would transport it."""
    try:
        if not isinstance(document, Mapping):
            raise TypeError
        copied: dict[str, Any] = json.loads(json.dumps(dict(document), allow_nan=False))
    except (TypeError, ValueError):
        raise InvalidOptionType(
            option="json_schema",
            where=where,
            expected="a JSON schema: a dict of JSON values",
            value=document,
            type=type(document).__name__,
        ) from None
    return copied


def _made(document: dict[str, Any], where: str) -> _Validator:
    """Return the validator of a schema.

    :raises InvalidOption: it is not a valid schema.
    :raises ExtraMissing: jsonschema is not installed.
    """
    try:
        # Imported here: sites without schemas need not install it, and its import takes a tenth of a second.
        from jsonschema import SchemaError, validators
        from jsonschema_specifications import REGISTRY
        from referencing import Resource
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import DRAFT202012
    except ImportError as error:
        raise ExtraMissing(what=f"The option 'json_schema' of {where}", package=error.name, extra="schema") from error
    dialect = document.get("$schema", _DIALECT)
    kind: Any = validators.validator_for({"$schema": str(dialect)}, default=None)  # type: ignore[arg-type]  # any will do
    if kind is None:
        raise _invalid(where, "a JSON schema of a draft that is known, if it has $schema", dialect)
    try:
        kind.check_schema(document)
    except SchemaError as error:
        path = error.json_path.removeprefix("$").removeprefix(".")
        place = f"at {path}: " if path else ""
        raise _invalid(where, f"a valid JSON schema ({place}{_cut(error.message)})", error.instance) from None
    own = REGISTRY.with_resource("", Resource.from_contents(document, default_specification=DRAFT202012))
    try:
        for reference in _references(document):
            own.resolver().lookup(reference)
    except Unresolvable as error:
        raise _invalid(where, "a JSON schema whose $ref leads to a part of it", error.ref) from None
    # Arguments that never were JSON have tuples, too.
    types = kind.TYPE_CHECKER.redefine("array", lambda checker, value: isinstance(value, (list, tuple)))
    # With a registry of its own, it fetches nothing.
    make: Any = validators.extend(kind, type_checker=types)  # type: ignore[no-untyped-call]
    validator: _Validator = make(document, registry=REGISTRY, format_checker=_formats(kind))
    return validator


def _formats(kind: Any) -> Any:
    """Return the checker of formats of a draft, with those of IRIs: one is a URI, once its other letters are escaped.

    jsonschema checks these with ``rfc3987-syntax``, if at all. That takes more than a second to import, in each process.
    """
    from jsonschema import FormatChecker

    formats: Any = FormatChecker(())
    formats.checkers = dict(kind.FORMAT_CHECKER.checkers)
    if "if" in kind.VALIDATORS:  # new in draft 7, as the two formats are
        with suppress(ImportError):
            from rfc3986_validator import validate_rfc3986

            for name, rule in (("iri", "URI"), ("iri-reference", "URI_reference")):
                formats.checks(name)(
                    lambda value, rule=rule: not isinstance(value, str) or bool(validate_rfc3986(_as_uri(value), rule))
                )
    return formats


def _as_uri(iri: str) -> str:
    """Return an IRI with an escape in the place of each letter that only IRIs can have."""
    start, hash, fragment = iri.partition("#")
    path, mark, query = start.partition("?")
    return _IN_IRIS.sub("%00", path) + mark + _IN_QUERIES.sub("%00", query) + hash + _IN_IRIS.sub("%00", fragment)


def _references(document: dict[str, Any]) -> Iterator[str]:
    """Yield each $ref of a schema, so that one that leads nowhere is found before the first call."""
    waiting: list[Any] = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            if "$id" in part:
                return  # Its references are relative to that: they are followed at the first call.
            if isinstance(reference := part.get("$ref"), str):
                yield reference
            waiting.extend(inner for keyword, inner in part.items() if keyword not in _VALUES)


def _invalid(where: str, expected: str, value: Any) -> InvalidOption:
    return InvalidOption(option="json_schema", where=where, expected=expected, value=value)


def _shown(error: Any) -> dict[str, str]:
    path = error.json_path.removeprefix("$").removeprefix(".")
    return {"path": path, "rule": str(error.validator), "message": _cut(error.message)}


def _cut(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
