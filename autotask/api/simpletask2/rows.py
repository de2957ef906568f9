"""``app.model:key``: find the row that a client means."""

import uuid
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError

from autotask import references
from autotask.api.simpletask2.problems import BadTaskInfo, NoSuchModel, RowGone, TaskInfoMissing
from autotask.conf import settings
from autotask.model_tasks import SimpleTask


def row_of(task_info: Any) -> SimpleTask:
    """Return the row.

    :raises TaskInfoMissing: there is nothing.
    :raises BadTaskInfo: it is not ``app.model:key``, or the model cannot have such a key.
    :raises NoSuchModel: there is no such model, or its rows are no tasks.
    :raises RowGone: there is no such row.
    """
    if not task_info:
        raise TaskInfoMissing
    label, _, key = task_info.partition(":") if isinstance(task_info, str) else ("", "", "")
    if label.count(".") != 1 or not key or not label.replace(".", "").isidentifier():
        raise BadTaskInfo(task_info=task_info)
    try:
        model: Any = apps.get_model(label)
    except LookupError:
        raise _unknown(label, key, task_info) from None
    if not issubclass(model, SimpleTask):
        raise NoSuchModel(task_class_name=label)
    try:
        value = model._meta.pk.to_python(key)
        found = references.one(model, settings.DATABASE, value)
    except (ValidationError, ValueError, OverflowError):
        raise BadTaskInfo(task_info=task_info) from None
    if found is None:
        raise RowGone(task_info=task_info)
    return found  # type: ignore[no-any-return]  # of the model


def _unknown(label: str, key: str, task_info: str) -> Exception:
    """Return the problem with a row of an unknown model: its form first, as the real server does."""
    try:
        uuid.UUID(key)
    except ValueError:
        if not key.isdecimal():
            return BadTaskInfo(task_info=task_info)
    return NoSuchModel(task_class_name=label)
