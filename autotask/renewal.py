"""Turns a call into that of a task which waits already: with the id of that task, or merged with its arguments."""

import inspect
import uuid
from typing import TYPE_CHECKING, Any

from autotask import payload
from autotask.exceptions import InvalidOptionType, ObjectGone
from autotask.flow.debounce import Merge
from autotask.flow.options import REPLACE
from autotask.store.enqueue import NewTask
from autotask.store.unique import Terms

if TYPE_CHECKING:
    from autotask.definition import Definition


def terms(definition: "Definition[Any, Any]") -> Terms:
    """Return the policy for a call of a task if there is a task already."""
    options = definition.options
    if (debounce := options.debounce) is None:
        return Terms(on_conflict=options.on_conflict, renew=_readdressed)
    if (merge := debounce.merge) is None:
        return Terms(on_conflict=REPLACE, renew=_readdressed, at_most=debounce.at_most)

    def merged(task: NewTask, id: uuid.UUID, former: bytes | None) -> NewTask:
        return _merged(definition, merge, task, id, former)

    return Terms(on_conflict=REPLACE, renew=merged, merges=True, at_most=debounce.at_most)


def _readdressed(task: NewTask, id: uuid.UUID, former: bytes | None) -> NewTask:
    envelope = payload.readdress_arguments(task.payload, id=task.id, to=id, name=task.kind.name)
    return task._replace(id=id, payload=envelope)


def _merged(
    definition: "Definition[Any, Any]", merge: Merge, task: NewTask, id: uuid.UUID, former: bytes | None
) -> NewTask:
    """Return the call with the arguments that *merge* makes of those of the task that waits, and its own.

    If a model instance among the former arguments is gone, they count no longer.
    """
    assert former is not None
    name = task.kind.name
    try:
        old = payload.load_arguments(former, id=id, name=name)
    except ObjectGone:
        return _readdressed(task, id, None)
    stored = payload.load_arguments(task.payload, id=task.id, name=name)
    called = definition.as_called(*stored)
    arguments = merge(definition.bound(*definition.as_called(*old)), definition.bound(*called))
    args, kwargs = _as_arguments(arguments, definition)
    carried = payload.load_carried(task.payload, id=task.id, name=name) if payload.carries(task.payload) else None
    # Definitions of a backend store more than the arguments.
    before = stored[0][: len(stored[0]) - len(called[0])]
    return definition.new_call(args, kwargs, carried, id=id, before=before)


def _as_arguments(merged: Any, definition: "Definition[Any, Any]") -> tuple[tuple[Any, ...], dict[str, Any]]:
    parameters = definition.signature.parameters
    if not isinstance(merged, dict) or not merged.keys() <= parameters.keys():
        expected = f"a function that returns a dict with the names of parameters ({', '.join(parameters)})"
        raise InvalidOptionType(
            option="merge", where=definition.name, expected=expected, value=merged, type=type(merged).__name__
        )
    bound = inspect.BoundArguments(definition.signature, merged)
    return bound.args, bound.kwargs
