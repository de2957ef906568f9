"""The definitions of all tasks by name; decorators fill it, workers read it."""

import difflib
import importlib
import logging
from collections.abc import Iterable
from typing import Any, TypeVar

from django.apps import apps

from autotask import payload
from autotask.definition import Definition
from autotask.exceptions import PayloadRefused, UnknownTask
from autotask.flow.limits import Limit
from autotask.scheduled import ScheduledTask
from autotask.task import ClaimedTask

logger = logging.getLogger("autotask")

D = TypeVar("D", bound=Definition[Any, Any])

#: The limits of tasks of Django, each with the name of the task: these are looked up by their paths, and not among the definitions.
limits_of_others: set[tuple[str, Limit]] = set()

_definitions: dict[str, Definition[Any, Any]] = {}
#: The number of definitions that were ever registered.
_count = 0
_duplicates: list[tuple[Definition[Any, Any], Definition[Any, Any]]] = []


def register(definition: D) -> D:
    """Register a definition under its name; if the name had another one, keep both for the system check."""
    global _count
    _count += 1
    known = _definitions.get(definition.name)
    if known is not None and _clash(known, definition):
        _duplicates.append((known, definition))
    definition.is_late = apps.ready
    _definitions[definition.name] = definition
    return definition


def get(name: str) -> Definition[Any, Any]:
    """Return the definition of that name.

    :raises UnknownTask: there is none.
    """
    try:
        return _definitions[name]
    except KeyError:
        raise UnknownTask(name=name, suggestion=_suggestion(name)) from None


def known(name: str) -> Definition[Any, Any] | None:
    """Return the definition of that name, or None."""
    return _definitions.get(name)


def find(task: ClaimedTask) -> Definition[Any, Any]:
    """Return the definition of a claimed task, even if no decorator of autotask has registered it.

    :raises UnknownTask: there is none.
    """
    try:
        return _definitions[task.name]
    except KeyError:
        pass
    for kind in Definition.__subclasses__():
        if (found := kind.find(task)) is not None:
            return register(found)
    _import_module_of(task)
    return get(task.name)


def version() -> int:
    """Return a number that changes whenever a definition is registered."""
    return _count


def definitions() -> Iterable[Definition[Any, Any]]:
    """Return all definitions."""
    return _definitions.values()


def schedules() -> dict[str, ScheduledTask[Any, Any]]:
    """Return the periodic and cron tasks by name."""
    return {name: task for name, task in _definitions.items() if isinstance(task, ScheduledTask)}


def duplicates() -> Iterable[tuple[Definition[Any, Any], Definition[Any, Any]]]:
    """Return the pairs of definitions that claim the same name."""
    return tuple(_duplicates)


def _import_module_of(task: ClaimedTask) -> None:
    """Import the module that the name of a task begins with, by default that of its function.

    Nothing is imported for a task that this site has not enqueued under that name.
    """
    try:
        payload.verify_arguments(task.payload, id=task.id, name=task.name)
    except PayloadRefused:
        return
    module = task.name
    while "." in module:
        module = module.rpartition(".")[0]
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and f"{module}.".startswith(f"{error.name}."):
                continue  # The name continues with that of a class, or is not a path at all.
            logger.exception("The module %s of a task cannot be imported here", module)
        except (Exception, SystemExit):  # the module of the project may raise anything
            logger.exception("The module %s of a task cannot be imported here", module)
        return


def _suggestion(name: str) -> str:
    if ".<locals>." in name or name.endswith("<lambda>"):
        return (
            ": the import of its module does not define it, since it is defined inside a function, or is a lambda. Define it "
            "at the top level of the module"
        )
    close = difflib.get_close_matches(name, _definitions, 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _clash(known: Definition[Any, Any], definition: Definition[Any, Any]) -> bool:
    if known.function is definition.function and ScheduledTask in (type(known), type(definition)):
        return True  # Two decorators on one function: one of the schedules would never run.
    # A module that is reloaded defines the same function again, which is not a duplicate.
    return _place(known) != _place(definition)


def _place(definition: Definition[Any, Any]) -> tuple[str, str]:
    return definition.function.__module__, definition.function.__qualname__
