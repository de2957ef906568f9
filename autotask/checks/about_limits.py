"""System checks of the limits in the settings, and of those that tasks name."""

from typing import Any

from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning

from autotask import registry
from autotask.checks.about_settings import did_you_mean, valid
from autotask.flow.limits import QUEUE


def check_limit_names(**_: Any) -> list[CheckMessage]:
    """autotask.E016: a task names a limit that has no number."""
    known = valid("LIMITS", {})
    limits = [(definition.name, definition.options.concurrency) for definition in registry.definitions()]
    named = {(task, str(limit.name)) for task, limit in limits if limit is not None and limit.most is None}
    return [
        Error(
            f"The task {task!r} has the limit {name!r}, which is not in AUTOTASK_LIMITS.",
            hint=f"{did_you_mean(name, known)}Add it to AUTOTASK_LIMITS, with the number of tasks that may run at a time.",
            id="autotask.E016",
        )
        for task, name in sorted(named | registry.named_limits)
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
