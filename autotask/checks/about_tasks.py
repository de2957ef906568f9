"""System checks of the definitions of tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.checks import CheckMessage, Error, Info, Warning

from autotask import registry
from autotask.checks.about_settings import did_you_mean, valid
from autotask.definition import Definition
from autotask.functions import SCRIPTS
from autotask.scheduled import ScheduledTask
from autotask.schedules.crontab import Crontab
from autotask.schedules.remarks import remarks
from autotask.task import BACKGROUND, COROUTINE, PROCESS, THREAD

#: If clocks are changed at all, they are changed within this time.
LOOK_AHEAD = timedelta(days=366)


def check_names(**_: Any) -> list[CheckMessage]:
    """autotask.E004: two functions, or two schedules of one function, claim one name."""
    return [
        Error(
            f"Two tasks have the name {first.name!r}: {_place(first)} and {_place(second)}. Workers run the second one.",
            hint='Give one of them another name, with name="…" in its decorator.',
            id="autotask.E004",
        )
        for first, second in registry.duplicates()
    ]


def check_functions(**_: Any) -> list[CheckMessage]:
    """autotask.E005: a worker could not import the function."""
    return [
        Error(
            f"The task {definition.name!r} cannot be imported by a worker: {_place(definition)} is {problem}.",
            hint="Define it with def, at the top level of a module that is imported when Django starts, "
            "such as the tasks.py of an app.",
            id="autotask.E005",
        )
        for definition in registry.definitions()
        if (problem := _why_not_importable(definition))
    ]


def check_executor_names(**_: Any) -> list[CheckMessage]:
    """autotask.E008: a task names an executor that does not exist."""
    known = ["thread", PROCESS, *valid("EXECUTORS", {})]
    return [
        Error(
            f"The task {definition.name!r} has executor={executor!r}, which no worker has.",
            hint=f"{did_you_mean(executor, known)}Use one of {', '.join(map(repr, known))}, or add {executor!r} to "
            "AUTOTASK_EXECUTORS.",
            id="autotask.E008",
        )
        for definition in registry.definitions()
        if (executor := _executor_of(definition)) not in (THREAD, COROUTINE, *known)
    ]


def _executor_of(definition: Any) -> str:
    """Return the pool or executor in which the function runs; for a background worker, that of its own option."""
    executor: str = definition.worker.options.executor if definition.executor == BACKGROUND else definition.executor
    return executor


def check_late(**_: Any) -> list[CheckMessage]:
    """autotask.W005: workers do not know the module of a task."""
    return [
        Warning(
            f"Workers do not know the task {definition.name!r} ({_place(definition)}): its module is imported only after "
            f"Django has started, and {_why_not_found(definition)}.",
            hint=f"Add {definition.function.__module__!r} to AUTOTASK_MODULES.",
            id="autotask.W005",
        )
        for definition in registry.definitions()
        if definition.is_hidden
    ]


def check_changes_of_clocks(**_: Any) -> list[CheckMessage]:
    """autotask.I001: a cron task is due at a time that the clocks of its zone skip or repeat."""
    now = datetime.now(UTC)
    return [
        Info(
            f"The schedule {name!r} meets a change of the clock in {timetable.tz}: "
            f"{'; '.join(map(str, remarks(timetable, now, now + LOOK_AHEAD)))}.",
            hint='It still runs once that day. If the time matters, choose one that exists every day, or tz="UTC".',
            id="autotask.I001",
        )
        for name, task in registry.schedules().items()
        if isinstance(timetable := task.schedule, Crontab)
        and not timetable.follows_real_time
        and remarks(timetable, now, now + LOOK_AHEAD)
    ]


def _why_not_importable(definition: Definition[Any, Any]) -> str:
    module, qualname = _module_and_name(definition)
    if qualname.endswith("<lambda>"):
        return "a lambda"
    if "<locals>" in qualname:
        return "nested in another function"
    if module in SCRIPTS:
        return "in the script that is being run, and a worker runs another one"
    return ""


def _why_not_found(definition: Definition[Any, Any]) -> str:
    if isinstance(definition, ScheduledTask):
        return "workers do not look for schedules"
    return "its name does not begin with the name of the module"


def _place(definition: Definition[Any, Any]) -> str:
    return ".".join(_module_and_name(definition))


def _module_and_name(definition: Definition[Any, Any]) -> tuple[str, str]:
    # An instance with __call__ has no name of its own: use that of its class.
    function = definition.function
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return function.__module__, name
