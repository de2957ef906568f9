"""The methods of a model task that are its steps, and what they get and return."""

import json
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

from autotask.exceptions import HandlerMissing, NotJSON
from autotask.functions import is_coroutine_function

#: The method of a model task with a single step, and those of one with several.
ONLY = "do_task_main"
NUMBERED = "do_task_main_step{number}"


def name_of(model: type[Model], number: int) -> str:
    """Return the name of the method that is a step."""
    single = getattr(model, "final_step", 1) == 1
    if single and (hasattr(model, ONLY) or not hasattr(model, NUMBERED.format(number=1))):
        return ONLY
    return NUMBERED.format(number=number)


def call(row: Model, number: int, payload: dict[str, Any]) -> Any:
    """Run a step, and return its value.

    :raises HandlerMissing: there is no method for the step.
    """
    name = name_of(type(row), number)
    handler: Callable[..., Any] | None = getattr(row, name, None)
    if not callable(handler):
        raise HandlerMissing(model=row._meta.label, handler=name, step=number)
    if is_coroutine_function(handler):
        return async_to_sync(handler)(payload)
    return handler(payload)


def between(value: Any) -> dict[str, Any]:
    """Return the value of a step that is not the last as the dict for the next one."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {"value": value}


def as_json(value: Any, row: Model) -> Any:
    """Return a value as it is when JSON has kept it.

    :raises NotJSON: JSON cannot hold it.
    """
    try:
        text = json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False, ensure_ascii=False)
        text.encode()  # not halves of characters, which PostgreSQL cannot store either
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJSON(model=row._meta.label, reason=str(error)) from None
    if "\\u0000" in text:
        raise NotJSON(model=row._meta.label, reason="it has a NUL character, which PostgreSQL cannot store")
    return json.loads(text)
