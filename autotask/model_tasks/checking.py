"""The problems that ``manage.py check`` finds in a model task."""

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING

from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist

from autotask.conf import settings
from autotask.exceptions import AutotaskError, InvalidSetting
from autotask.model_tasks import handlers
from autotask.model_tasks.definition import database_of
from autotask.model_tasks.queryset import SimpleTaskQuerySet
from autotask.task import LONGEST_TIME
from autotask.values import plain_name

if TYPE_CHECKING:
    from autotask.model_tasks.base import SimpleTask


def problems(model: "type[SimpleTask]") -> list[CheckMessage]:
    """Return the problems of a model."""
    if model._meta.abstract or model._meta.swapped:
        return []
    return [*_steps(model), *_time_between_steps(model), *_channel(model), *_options(model), *_database(model)]


def _steps(model: "type[SimpleTask]") -> Iterator[CheckMessage]:
    """autotask.E030, E031: the number of steps, and a method for each."""
    final: object = model.final_step
    if isinstance(final, bool) or not isinstance(final, int) or not 1 <= final <= 1000:
        yield Error(
            f"final_step of {model._meta.label} must be a whole number from 1 to 1000, but is {final!r}.",
            obj=model,
            id="autotask.E030",
        )
        return
    for number in range(1, final + 1):
        name = handlers.name_of(model, number)
        if problem := _why_no_handler(getattr(model, name, None)):
            yield Error(
                f"{model._meta.label} has no method {name}(self, payload) for its step {number}: {problem}.",
                hint="With final_step = 1 the step is do_task_main, with more do_task_main_step1, do_task_main_step2, …",
                obj=model,
                id="autotask.E031",
            )


def _time_between_steps(model: "type[SimpleTask]") -> Iterator[CheckMessage]:
    """autotask.E037: the time for which a step waits for a client."""
    given: object = model.do_task_timeout
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given <= LONGEST_TIME:
        yield Error(
            f"do_task_timeout of {model._meta.label} must be a number of seconds up to a century, but is {given!r}.",
            obj=model,
            id="autotask.E037",
        )


def _channel(model: "type[SimpleTask]") -> Iterator[CheckMessage]:
    """autotask.E032, E033: the channel, and the field that holds it."""
    field = model.channel_field
    if field is not None:
        try:
            model._meta.get_field(field)
        except FieldDoesNotExist:
            names = ", ".join(each.name for each in model._meta.concrete_fields)
            yield Error(
                f"channel_field of {model._meta.label} is {field!r}, but it has no such field.",
                hint=f"Its fields are {names}.",
                obj=model,
                id="autotask.E032",
            )
    try:
        plain_name(model.channel, "channel", model._meta.label)
    except AutotaskError as problem:
        yield Error(str(problem), obj=model, id="autotask.E033")


def _options(model: "type[SimpleTask]") -> Iterator[CheckMessage]:
    """autotask.E034, E035: options that are wrong; a manager that makes rows without tasks."""
    if (problem := model.task_definition.problem) is not None:
        yield Error(str(problem), obj=model, id="autotask.E034")
    if not isinstance(model._default_manager.get_queryset(), SimpleTaskQuerySet):
        yield Error(
            f"The manager of {model._meta.label} does not make tasks of rows: bulk_create() would insert the rows only.",
            hint="Derive it from SimpleTaskManager, or its queryset from SimpleTaskQuerySet.",
            obj=model,
            id="autotask.E035",
        )


def _database(model: "type[SimpleTask]") -> Iterator[CheckMessage]:
    """autotask.E036: row and task cannot be in one transaction."""
    try:
        expected = settings.DATABASE
    except InvalidSetting:  # reported as E003
        return
    if (alias := database_of(model)) != expected:
        yield Error(
            f"The rows of {model._meta.label} are in the database {alias!r}, and the tasks in {expected!r}: "
            "a row and its task must be in one.",
            hint="Change AUTOTASK_DATABASE, or the database router.",
            obj=model,
            id="autotask.E036",
        )


def _why_no_handler(handler: object) -> str:
    if handler is None:
        return "there is none"
    if not callable(handler):
        return f"it is {type(handler).__name__}"
    try:
        inspect.signature(handler).bind(None, {})
    except TypeError as error:
        return f"it cannot be called so ({error})"
    return ""
