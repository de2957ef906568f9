"""The task types: what the code of this process has, with their statistics of a day."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.utils.translation import gettext

from autotask import registry
from autotask.admin import show, timetables
from autotask.admin.dashboard.viewer import Viewer
from autotask.definition import Definition
from autotask.scheduled import ScheduledTask
from autotask.statistics import Counts, quantile
from autotask.store import glance, pauses, statistics
from autotask.store.connection import current
from autotask.store.pauses import Kind
from autotask.task import State
from autotask.texts.localized import share, whole

if TYPE_CHECKING:
    from autotask.admin.dashboard.pages import DashboardAdmin

#: The time of which the statistics are shown.
A_DAY = timedelta(days=1)

#: The states of live tasks that wait, in the order of the page.
WAITING = (State.READY, State.HELD, State.SCHEDULED)


def shown(page: "DashboardAdmin", viewer: Viewer) -> dict[str, Any]:
    """Return the context of the page."""
    connection = current()
    counted = glance.by_name(connection)
    paused = {pause.name for pause in pauses.read(connection) if pause.kind is Kind.TASK}
    totals = {of.name: counts for of, counts in statistics.totals(connection, datetime.now(UTC) - A_DAY).items()}
    known = {definition.name: definition for definition in registry.definitions()}
    address = viewer.tasks_address
    return {
        "types": [
            {
                "name": show.link(address and f"{address}?{urlencode({'q': name})}", show.name(name)),
                **_declared(name, known.get(name), name in paused),
                **_live(counted.get(name, {})),
                **_lately(totals.get(name, Counts())),
            }
            for name in sorted(known.keys() | counted.keys() | totals.keys())
        ],
        "window": whole(glance.NAMES_SEEN),
    }


def _declared(name: str, definition: Definition[Any, Any] | None, is_paused: bool) -> dict[str, Any]:
    return {
        "state": _state(name, definition, is_paused),
        "about": "" if definition is None else _about(definition),
        "queue": show.NOTHING if definition is None else definition.options.queue,
    }


def _live(counts: dict[State, int]) -> dict[str, Any]:
    return {
        "waiting": whole(sum(counts.get(state, 0) for state in WAITING)),
        "running": whole(counts.get(State.RUNNING, 0)),
    }


def _lately(counts: Counts) -> dict[str, Any]:
    """Return the statistics of the last day."""
    part = f" ({share(counts.failed / counts.ended, 0)})" if counts.failed else ""
    return {
        "done": whole(counts.succeeded),
        "failed": whole(counts.failed) + part,
        "has_failed": bool(counts.failed),
        "waited": _quantiles(counts.waiting),
        "ran": _quantiles(counts.running),
    }


def _quantiles(histogram: Sequence[int]) -> str:
    """Return the median and the 95th percentile."""
    median, most = quantile(histogram, 0.5), quantile(histogram, 0.95)
    if median is None or most is None:
        return show.NOTHING
    return f"{show.duration(timedelta(seconds=median))} / {show.duration(timedelta(seconds=most))}"


def _state(name: str, definition: Definition[Any, Any] | None, is_paused: bool) -> str:
    # Tasks of autotask's own are imported when they are first needed: a web process may never need them.
    if definition is None and not name.startswith("autotask."):
        return show.pill(gettext("not in the code"), "lost", gettext("The code of this process has no such task."))
    return show.pill(gettext("paused"), "held") if is_paused else ""


def _about(definition: Definition[Any, Any]) -> str:
    """Return the options that are not the default, as text."""
    options = definition.options
    parts = []
    if isinstance(definition, ScheduledTask):
        parts.append(timetables.in_words(definition.schedule))
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
