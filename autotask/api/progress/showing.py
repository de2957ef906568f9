"""The part of a task that a page shows: its progress, but never its error or result."""

from typing import TypedDict

from django.utils.translation import gettext as _, gettext_lazy

from autotask.store.progress import Seen
from autotask.task import Status
from autotask.texts import localized

#: The words for a status.
LABELS = {
    Status.WAITING: gettext_lazy("waiting"),
    Status.RUNNING: gettext_lazy("running"),
    Status.DONE: gettext_lazy("done"),
    Status.ERROR: gettext_lazy("failed"),
    Status.CANCELLED: gettext_lazy("cancelled"),
}


class Shown(TypedDict):
    """The document at the address of a progress bar.

    :ivar status: "waiting", "running", "done", "error", "cancelled", or "gone" if the task is not in the database.
    :ivar ended: whether this is the last that there is to show.
    :ivar fraction: the share that is done, from 0 to 1; None while it is unknown.
    :ivar text: the text next to the bar, in the language of the request.
    """

    status: str
    ended: bool
    done: float | None
    total: float | None
    fraction: float | None
    text: str


def shown(seen: Seen | None) -> Shown:
    """Return the part of a task to show; *seen* is None if it is not in the database."""
    if seen is None:
        return Shown(status="gone", ended=True, done=None, total=None, fraction=None, text=_("no longer kept"))
    status, progress = seen.state.status, seen.progress
    fraction = 1.0 if status is Status.DONE else progress.fraction if progress else None
    return Shown(
        status=str(status),
        ended=seen.state.ended,
        done=progress.done if progress else None,
        total=progress.total if progress else None,
        fraction=fraction,
        text=_text(status, seen),
    )


def _text(status: Status, seen: Seen) -> str:
    if status is not Status.RUNNING or seen.progress is None:
        return str(LABELS[status])
    fraction = seen.progress.fraction
    return localized.amount(seen.progress.done) if fraction is None else localized.share(fraction, 0)
