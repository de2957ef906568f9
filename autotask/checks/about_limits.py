"""System checks of the limits in the settings, and of those that tasks name."""

import difflib
from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning

from autotask import registry
from autotask.checks.about_settings import did_you_mean, valid
from autotask.flow.limits import EVERYTHING, QUEUE, TYPE, Limit


def check_limit_names(**_: Any) -> list[CheckMessage]:
    """autotask.E016: a task names a limit that has no number."""
    known = valid("LIMITS", {})
    named = {(task, str(limit.name)) for task, limit in _limits() if limit.most is None}
    return [
        Error(
            f"The task {task!r} has the limit {name!r}, which is not in AUTOTASK_LIMITS.",
            hint=f"{did_you_mean(name, known)}Add it to AUTOTASK_LIMITS, with the number of tasks that may run at a time.",
            id="autotask.E016",
        )
        for task, name in sorted(named)
        if name not in known
    ]


def check_queues_of_limits(**_: Any) -> list[CheckMessage]:
    """autotask.W007: a limit of a queue that no task has."""
    known = sorted(_known_queues())
    return [
        Warning(
            f"AUTOTASK_LIMITS has {name!r}, but no task has the queue {queue!r}.",
            hint=f"{did_you_mean(queue, known)}The tasks have {', '.join(map(repr, known)) or 'none'}. If only "
            ".using(queue=…) names it, add this id to SILENCED_SYSTEM_CHECKS.",
            id="autotask.W007",
        )
        for name in valid("LIMITS", {})
        if name.startswith(QUEUE) and (queue := name.removeprefix(QUEUE)) not in known
    ]


def check_unused_limits(**_: Any) -> list[CheckMessage]:
    """autotask.W009: a limit that no task names."""
    used = {EVERYTHING, *(limit.base(task) for task, limit in _limits())}
    known = ", ".join(map(repr, (*sorted(used), f"{QUEUE}NAME")))
    return [
        Warning(
            f"AUTOTASK_LIMITS has {name!r}, but no task has a limit of this name.",
            hint=f"{_meant(name, used)}Names are {known}: those that tasks have in their option concurrency, those of queues, and "
            f"{EVERYTHING!r} for all tasks.",
            id="autotask.W009",
        )
        for name in valid("LIMITS", {})
        if name not in used and not name.startswith(QUEUE)
    ]


def check_type_names(**_: Any) -> list[CheckMessage]:
    """autotask.W008: a limit of a task that does not exist."""
    known = sorted(definition.name for definition in registry.definitions())
    return [
        Warning(
            f"AUTOTASK_MAX_TYPE_COUNT has {name!r}, but no task has this name.",
            hint=f"{did_you_mean(name, known)}Names of tasks are module.function, as in shop.tasks.render, unless their "
            "decorator gives another one.",
            id="autotask.W008",
        )
        for name in valid("MAX_TYPE_COUNT", {})
        if name not in known
    ]


def _limits() -> list[tuple[str, Limit]]:
    """Return the limits that tasks have in their option ``concurrency``, each with the name of the task."""
    own = [(definition.name, definition.options.concurrency) for definition in registry.definitions()]
    return [(task, limit) for task, limit in (*own, *registry.limits_of_others) if limit is not None]


def _meant(name: str, used: set[str]) -> str:
    kind, is_of_something, of = name.partition(":")
    if is_of_something and kind == TYPE.removesuffix(":"):
        return f"For a limit of the task {of!r}, use AUTOTASK_MAX_TYPE_COUNT. "
    if is_of_something and difflib.get_close_matches(kind, [QUEUE.removesuffix(":")], 1):
        return f"Did you mean {QUEUE}{of}? "
    return did_you_mean(name, used)


def _known_queues() -> set[str]:
    """Return the queues of tasks, and those that the settings name."""
    backends = getattr(django_settings, "TASKS", None)
    named = [
        queue
        for backend in (backends.values() if isinstance(backends, dict) else ())
        if isinstance(backend, dict)
        for queue in backend.get("QUEUES") or ()
    ]
    tasks = {definition.options.queue for definition in registry.definitions()}
    return tasks | {queue.removeprefix("-") for queue in valid("QUEUES", ())} | set(named)
