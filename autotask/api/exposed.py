"""The tasks that can be called and seen through the HTTP API: those with ``api=True``, or named in AUTOTASK_API_TASKS."""

from typing import Any

from autotask import registry
from autotask.api.auth import Caller, demand
from autotask.api.problems import Problem
from autotask.conf import settings
from autotask.definition import Definition

AnyDefinition = Definition[Any, Any]


def is_exposed(name: str) -> bool:
    """Whether the task of that name can be called and seen here."""
    return _find(name) is not None


def exposed(name: str) -> AnyDefinition:
    """Return the definition of that name.

    :raises Problem: 404 if there is none, or it is not exposed: the answer does not say which.
    """
    found = _find(name)
    if found is None:
        raise Problem(404, "unknown_task", f"No task named {name[:200]!r} can be called here.")
    return found


def all_exposed() -> list[AnyDefinition]:
    """Return all definitions that are exposed, by name."""
    named = settings.API_TASKS
    found = [each for each in registry.definitions() if each.options.api or each.name in named]
    return sorted(found, key=lambda each: each.name)


def names_for(caller: Caller, action: str, wanted: str = "") -> list[str]:
    """Return the names of the exposed tasks with which a caller may do something.

    :param wanted: only this one; "": all.
    :raises Problem: 404 if the wanted one is not exposed, 403 if the caller may not do that with it, or with any task.
    """
    if wanted:
        name = exposed(wanted).name
        demand(caller, action, name)
        return [name]
    demand(caller, action)
    return [each.name for each in all_exposed() if caller.may(action, each.name)]


def _find(name: str) -> AnyDefinition | None:
    found = registry.known(name)
    return found if found is not None and (found.options.api or name in settings.API_TASKS) else None
