"""The overview: counts, queues, workers and last failures, and what is wrong in a sentence each."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from django.utils.translation import gettext, ngettext

from autotask import agenda
from autotask.admin import show, states
from autotask.admin.dashboard import rates
from autotask.admin.dashboard.viewer import Viewer
from autotask.admin.pauses import KIND_WORDS
from autotask.admin.workers import life
from autotask.agenda import Condition, Entry
from autotask.conf import settings
from autotask.notifications.alerts import words as alert_words
from autotask.queues import serves
from autotask.store import glance, incidents, pauses, read
from autotask.store.connection import current
from autotask.store.glance import Failure, QueueGlance
from autotask.store.incidents import Incident
from autotask.store.pauses import Kind, Pause
from autotask.store.read import LivingWorker
from autotask.texts.localized import whole

if TYPE_CHECKING:
    from autotask.admin.dashboard.pages import DashboardAdmin

#: Failures that are listed.
MOST_FAILURES = 8

#: Workers and queues that are listed.
MOST_ROWS = 20

#: Incidents that are shown.
MOST_INCIDENTS = 5

#: If a due task waits for longer than this, the page says so.
LONG_WAIT = timedelta(minutes=1)


class Banner(NamedTuple):
    """Something that is wrong.

    :ivar kind: "error" or "warning".
    """

    kind: str
    text: str


class Seen(NamedTuple):
    """The rows from which the page is made."""

    now: datetime
    queues: Sequence[QueueGlance]
    workers: Sequence[LivingWorker]
    pauses: Sequence[Pause]
    schedules: Sequence[Entry]
    incidents: Sequence[Incident] = ()

    @property
    def alive(self) -> list[LivingWorker]:
        """The running workers."""
        return [worker for worker in self.workers if worker.alive]

    def is_paused(self, queue: str) -> bool:
        """Whether nobody works on a queue, on purpose."""
        return any(
            pause.kind is Kind.EVERYTHING or (pause.kind, pause.name) == (Kind.QUEUE, queue) for pause in self.pauses
        )


def shown(page: "DashboardAdmin", viewer: Viewer) -> dict[str, Any]:
    """Return the context of the page."""
    connection, address = current(), viewer.tasks_address
    seen = Seen(
        datetime.now(UTC),
        glance.queues(connection),
        read.workers(connection),
        pauses.read(connection),
        agenda.entries(connection),
        # Their texts name tasks and schedules.
        incidents.going_on(connection, MOST_INCIDENTS) if settings.ALERTS and viewer.may_see_tasks else (),
    )
    return {
        "banners": list(banners(seen, may_see_workers=viewer.may_see_workers)),
        "may_see_tasks": viewer.may_see_tasks,
        "may_see_workers": viewer.may_see_workers,
        "may_see_pauses": viewer.may_see_pauses,
        "chart": rates.chart(viewer.chosen_range, seen.now),
        "states": states.shown(
            glance.counts(connection), lambda key: address and f"{address}?{urlencode({'state': key})}"
        ),
        "oldest": _oldest(seen),
        "queues": [_queue(queue, seen, address) for queue in seen.queues[:MOST_ROWS]],
        "more_queues": len(seen.queues) - MOST_ROWS,
        "workers": [_worker(worker) for worker in seen.workers[:MOST_ROWS]],
        "more_workers": len(seen.workers) - MOST_ROWS,
        "pauses": [_pause(pause) for pause in seen.pauses[:MOST_ROWS]],
        "failures": [_failure(each, page) for each in glance.failures(connection, MOST_FAILURES)]
        if viewer.may_see_tasks
        else [],
    }


def _failure(failure: Failure, page: "DashboardAdmin") -> dict[str, Any]:
    return {
        "name": show.link(page.task_address(failure.id), show.name(failure.name)),
        "error": show.shortened(failure.error, 120),
        "ended": show.moment(failure.ended_at),
    }


# --- banners ------------------------------------------------------------------------------------------------------------


def banners(seen: Seen, *, may_see_workers: bool) -> Iterator[Banner]:
    """Yield what is wrong, the most severe first.

    :param may_see_workers: whether hosts and processes are named.
    """
    yield from _about_switches(seen)
    for incident in seen.incidents:
        said = gettext("Alert since %(time)s: %(text)s.")
        since = show.duration(seen.now - incident.began_at)
        yield Banner("error", said % {"time": since, "text": alert_words.of_incident(incident)})
    yield from _about_workers(seen, may_see_workers)
    yield from _about_queues(seen)
    if late := [entry.name for entry in seen.schedules if entry.condition(seen.now) is Condition.LATE]:
        words = ngettext(
            "A schedule is late, because no running worker has it in its code: %(names)s.",
            "%(number)d schedules are late, because no running worker has them in its code: %(names)s.",
            len(late),
        )
        yield Banner("warning", words % {"number": len(late), "names": _named(late)})


def _about_switches(seen: Seen) -> Iterator[Banner]:
    if not settings.IS_ACTIVE:
        yield Banner("error", gettext("AUTOTASK_IS_ACTIVE is False: calls run at once, and no companion starts."))
    for pause in seen.pauses:
        if pause.kind is Kind.EVERYTHING:
            yield Banner("warning", gettext("Everything is paused, by %(who)s.") % {"who": pause.paused_by or "?"})


def _about_workers(seen: Seen, may_see_workers: bool) -> Iterator[Banner]:
    if not seen.alive:
        last = min((worker.seen for worker in seen.workers), default=None)
        words = gettext("No worker is alive: nothing runs. Start the site, or: python manage.py autotask worker.")
        if last is not None:
            ago = show.duration(timedelta(seconds=last))
            words += " " + gettext("The last one was seen %(time)s ago.") % {"time": ago}
        yield Banner("error", words)
    elif lost := [f"{worker.host}:{worker.pid}" for worker in seen.workers if not worker.alive]:
        if may_see_workers:
            words = ngettext(
                "A worker is lost; others rescue its tasks: %(names)s.",
                "%(number)d workers are lost; others rescue their tasks: %(names)s.",
                len(lost),
            )
        else:
            words = ngettext(
                "A worker is lost; others rescue its tasks.",
                "%(number)d workers are lost; others rescue their tasks.",
                len(lost),
            )
        yield Banner("warning", words % {"number": len(lost), "names": _named(lost)})


def _about_queues(seen: Seen) -> Iterator[Banner]:
    waiting = [queue for queue in seen.queues if queue.ready.number and not seen.is_paused(queue.queue)]
    unserved = [
        queue.queue for queue in waiting if not any(serves(worker.queues, queue.queue) for worker in seen.alive)
    ]
    if unserved and seen.alive:
        words = ngettext(
            "No running worker serves the queue %(names)s, where tasks wait.",
            "No running worker serves these queues, where tasks wait: %(names)s.",
            len(unserved),
        )
        yield Banner("error", words % {"names": _named(unserved)})
    late = [(queue.oldest, queue.queue) for queue in waiting if queue.oldest and seen.now - queue.oldest > LONG_WAIT]
    if late and seen.alive:
        moment, name = min(late)
        words = gettext("The oldest due task has waited for %(time)s, in the queue %(name)s.")
        yield Banner("warning", words % {"time": show.duration(seen.now - moment), "name": name})


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return (
        shown if len(names) <= 3 else gettext("%(names)s and %(more)d more") % {"names": shown, "more": len(names) - 3}
    )


# --- numbers ------------------------------------------------------------------------------------------------------------


def _oldest(seen: Seen) -> str:
    moments = [queue.oldest for queue in seen.queues if queue.oldest and not seen.is_paused(queue.queue)]
    return show.duration(seen.now - min(moments)) if moments else show.NOTHING


def _queue(queue: QueueGlance, seen: Seen, address: str | None) -> dict[str, Any]:
    served = sum(serves(worker.queues, queue.queue) for worker in seen.alive)
    if seen.is_paused(queue.queue):
        state = show.pill(gettext("paused"), "held")
    elif not served:
        state = show.pill(gettext("no worker"), "lost")
    elif queue.oldest and seen.now - queue.oldest > LONG_WAIT:
        state = show.pill(gettext("late"), "ready")
    else:
        state = show.pill(gettext("fine"), "done")
    return {
        "name": show.link(address and f"{address}?{urlencode({'queue': queue.queue})}", show.name(queue.queue)),
        "ready": states.number(queue.ready),
        "running": whole(queue.running),
        "held": whole(queue.held) if queue.held_are_all else f"> {whole(queue.held)}",
        "oldest": show.NOTHING if queue.oldest is None else show.duration(seen.now - queue.oldest),
        "state": state,
    }


def _worker(worker: LivingWorker) -> dict[str, Any]:
    return {
        "name": show.name(f"{worker.host}:{worker.pid}"),
        "state": life(is_lost=not worker.alive, is_stopping=worker.stopping),
        "running": worker.running,
        "threads": worker.threads,
        "seen": gettext("%(time)s ago") % {"time": show.roughly(worker.seen)},
    }


def _pause(pause: Pause) -> dict[str, Any]:
    return {
        "what": show.breakable(f"{KIND_WORDS[pause.kind]} {pause.name}".strip()),
        "who": pause.paused_by or gettext("an unknown user"),
        "since": show.moment(pause.paused_at),
        "until": show.moment(pause.until),
        "reason": pause.reason,
    }
