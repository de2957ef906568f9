"""The part of a task's page with its mails and webhooks, and whether they were sent."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext, gettext_lazy as _, ngettext, pgettext_lazy

from autotask.admin import show
from autotask.models import TaskRecord
from autotask.on_end import Notice, NoticeState, notices
from autotask.store import read
from autotask.store.connection import current

STATE_WORDS = {
    NoticeState.PLANNED: pgettext_lazy("state of a notice", "when it ends"),
    NoticeState.WAITING: pgettext_lazy("state of a notice", "to be sent"),
    NoticeState.SENT: pgettext_lazy("state of a notice", "sent"),
    NoticeState.GIVEN_UP: pgettext_lazy("state of a notice", "given up"),
    NoticeState.NOT_NEEDED: pgettext_lazy("state of a notice", "not for this end"),
}

#: The colours of the style sheet.
_KINDS = {
    NoticeState.PLANNED: "scheduled",
    NoticeState.WAITING: "ready",
    NoticeState.SENT: "done",
    NoticeState.GIVEN_UP: "error",
    NoticeState.NOT_NEEDED: "cancelled",
}


def fieldsets(record: TaskRecord | None, usual: Sequence[Any]) -> list[Any]:
    """Return the parts of the page of a task, with its notices if it has any."""
    if record is None or record.on_end is None:
        return list(usual)
    return [*usual, (_("Notices"), {"fields": (told,)})]


@admin.display(description=_("told of its end"))
def told(record: TaskRecord) -> str:
    """Show the mails and webhooks of a task, and whether they were sent."""
    task = read.task(current(), record.id)
    found = [] if task is None else notices(task.on_end, task.notices, task.state.status)
    items = ((show.pill(STATE_WORDS[each.state], _KINDS[each.state]), each.to, _tries(each)) for each in found)
    rows = format_html_join("", "<li>{} {} {}</li>", items)
    return format_html('<ul class="autotask-tasks">{}</ul>', rows)


def _tries(notice: Notice) -> str:
    if not notice.tries and not notice.error:
        return ""
    words = ngettext("%(number)d try", "%(number)d tries", notice.tries) % {"number": notice.tries}
    if notice.error:
        return gettext("(%(tries)s; the last error: %(error)s)") % {"tries": words, "error": notice.error}
    return f"({words})"
