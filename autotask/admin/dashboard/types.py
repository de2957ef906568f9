"""The task types: what the code of this process has, with counts among the newest tasks."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.translation import gettext

from autotask import registry
from autotask.admin import show
from autotask.definition import Definition
from autotask.scheduled import ScheduledTask
from autotask.store import glance, pauses
from autotask.store.connection import current
from autotask.store.pauses import Kind
from autotask.task import State

if TYPE_CHECKING:
    from autotask.admin.dashboard.pages import DashboardAdmin

#: The states of live tasks that wait, in the order of the page.
WAITING = (State.READY, State.HELD, State.SCHEDULED)


def shown(page: "DashboardAdmin", request: HttpRequest) -> dict[str, Any]:
    """Return what the page shows."""
    connection = current()
    counted = glance.by_name(connection)
    paused = {pause.name for pause in pauses.read(connection) if pause.kind is Kind.TASK}
    known = {definition.name: definition for definition in registry.definitions()}
    return {
        "types": [
            _type(name, known.get(name), counted.get(name, {}), name in paused, page.tasks_address())
            for name in sorted(known.keys() | counted.keys())
        ],
        "window": f"{glance.NAMES_SEEN:,}",
    }


def _type(
    name: str, definition: Definition[Any, Any] | None, counts: dict[State, int], is_paused: bool, address: str | None
) -> dict[str, Any]:
    return {
        "name": show.link(address and f"{address}?{urlencode({'q': name})}", show.name(name)),
        "state": _state(definition, is_paused),
        "about": "" if definition is None else _about(definition),
        "queue": show.NOTHING if definition is None else definition.options.queue,
        "waiting": f"{sum(counts.get(state, 0) for state in WAITING):,}",
        "running": f"{counts.get(State.RUNNING, 0):,}",
        "done": f"{counts.get(State.DONE, 0):,}",
        "failed": f"{counts.get(State.ERROR, 0):,}",
        "has_failed": bool(counts.get(State.ERROR)),
    }


def _state(definition: Definition[Any, Any] | None, is_paused: bool) -> str:
    if definition is None:
        return show.pill(gettext("not in the code"), "lost", gettext("The code of this process has no such task."))
    return show.pill(gettext("paused"), "held") if is_paused else ""


def _about(definition: Definition[Any, Any]) -> str:
    """Return the options that are not the default, as text."""
    options = definition.options
    parts = []
    if isinstance(definition, ScheduledTask):
        parts.append(definition.schedule.in_words())
    if options.retries:
        parts.append(gettext("retries: %(number)d") % {"number": options.retries})
    if options.timeout is not None:
        parts.append(gettext("time limit: %(time)s") % {"time": show.duration(timedelta(seconds=options.timeout))})
    if options.priority:
        parts.append(gettext("priority: %(number)d") % {"number": options.priority})
    if options.concurrency is not None:
        parts.append(gettext("limited"))
    if options.rate is not None:
        parts.append(gettext("with a rate"))
    if options.unique:
        parts.append(gettext("unique"))
    if options.at_most_once:
        parts.append(gettext("at most once"))
    return " · ".join(parts)
