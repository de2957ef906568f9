"""A call that comes as JSON: which task, with which arguments and options."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autotask.api import idempotency
from autotask.api.auth import Caller, demand
from autotask.api.body import invalid, wrong
from autotask.api.exposed import AnyDefinition, exposed
from autotask.api.problems import Problem
from autotask.exceptions import (
    AlreadyEnqueued,
    AutotaskError,
    ExtraMissing,
    InvalidOption,
    InvalidOptionType,
    PayloadTooLarge,
    SchemaMismatch,
    UnpicklableArgument,
    UnsuitableKey,
)
from autotask.handle import TaskHandle
from autotask.schema import Schema

#: The options of a call that a request may have, each with how it is read from JSON.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "delay": lambda value: value,
    "run_after": lambda value: _moment(value),
    "expires": lambda value: _moment(value) if isinstance(value, str) else value,
    "tags": lambda value: value,
    "email": lambda value: value,
}

#: All members of a request.
MEMBERS = ("name", "params", *OPTIONS)


#: The schemas that were made here, by the names of the tasks, with the definitions that they were made of.
_derived: dict[str, tuple[AnyDefinition, Schema | None]] = {}


@dataclass(frozen=True, slots=True)
class Order:
    """A request for a task.

    :ivar params: one object with the arguments, or what the function takes as ``params``.
    """

    name: str
    params: Any
    options: dict[str, Any]

    @classmethod
    def of(cls, body: dict[str, Any]) -> "Order":
        """Return the request in the body.

        :raises Problem: 422 if it has the wrong shape.
        """
        errors = [
            wrong(name, "additionalProperties", f"there is no such member; known are: {', '.join(MEMBERS)}")
            for name in body
            if name not in MEMBERS
        ]
        if "name" not in body:
            errors.append(wrong("name", "required", "it is missing"))
        elif not isinstance(body["name"], str):
            errors.append(wrong("name", "type", "it must be a string"))
        if errors:
            raise invalid(errors)
        options = {name: body[name] for name in OPTIONS if body.get(name) is not None}
        return cls(body["name"], body.get("params", {}), options)


def submit(caller: Caller, order: Order, key: str | None = None) -> TaskHandle[Any]:
    """Store the task of a request, and return its handle.

    :param key: the idempotency key of the request; None: it has none.
    :raises Problem: 403, 404, 409, 413 or 422, see :data:`autotask.api.problems.CODES`.
    """
    definition = exposed(order.name)
    demand(caller, "submit", order.name)
    try:
        args, kwargs = definition.parameters.from_object(order.params, order.name)
        if (derived := derived_schema(definition)) is not None and (errors := derived.errors(order.params)):
            raise invalid(errors)
        task = _with_options(definition, order.options)
        if key is None:
            return task.enqueue(*args, **kwargs)
        asked = [order.name, order.params, order.options]
        return idempotency.once(caller, key, asked, lambda: task.enqueue(*args, **kwargs))
    except SchemaMismatch as error:
        raise invalid([dict(each) for each in error.errors]) from error
    except AlreadyEnqueued as error:
        raise Problem(409, "already_enqueued", _sentence(error), task=str(error.facts["id"])) from error
    except PayloadTooLarge as error:
        raise Problem(413, "too_large", _sentence(error)) from error
    except (InvalidOption, InvalidOptionType) as error:
        raise invalid([wrong(error.facts["option"], "option", f"it must be {error.facts['expected']}")]) from error
    except (UnsuitableKey, UnpicklableArgument) as error:
        raise invalid([wrong("", "key", _sentence(error))]) from error


def derived_schema(definition: AnyDefinition) -> Schema | None:
    """Return the schema made of the type hints of a task that has none, ready to check; None without jsonschema.

    Python code may call the task with other values than JSON has. Callers from outside get what the document says.
    """
    if definition.options.json_schema is not None:
        return None  # It is checked at the call.
    known = _derived.get(definition.name)
    if known is None or known[0] is not definition:
        known = _derived[definition.name] = (definition, _made(definition))
    return known[1]


def _made(definition: AnyDefinition) -> Schema | None:
    try:
        return Schema(definition.schema, definition.name)
    except (ExtraMissing, InvalidOption, InvalidOptionType):
        return None


def _with_options(definition: AnyDefinition, options: dict[str, Any]) -> AnyDefinition:
    if not options:
        return definition
    read = {}
    for name, value in options.items():
        try:
            read[name] = OPTIONS[name](value)
        except ValueError as error:
            raise invalid([wrong(name, "format", str(error))]) from error
    if "delay" in read and "run_after" in read:
        raise invalid([wrong("run_after", "option", "there is a delay already")])
    return definition.using(**read)


def _moment(value: Any) -> datetime:
    expected = "it must be a date and time with a time zone, such as 2026-12-01T08:00:00Z"
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(expected) from None
    if moment.utcoffset() is None:
        raise ValueError(expected)
    return moment


def _sentence(error: AutotaskError) -> str:
    return " ".join(str(error).split())
