"""The buttons on the page of a task that pause and resume its name and its queue."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import gettext

from autotask.acts import pausing
from autotask.admin import show
from autotask.admin.acting import ActingAdmin, Button
from autotask.admin.pauses import KIND_WORDS, may_pause, target
from autotask.models import TaskRecord
from autotask.store.pauses import Kind, Pause

#: The field of the page for the reason.
REASON = "autotask_reason"


def buttons(page: ActingAdmin) -> Sequence[Button]:
    """Return the buttons for a page of tasks."""
    return [
        Button(f"{word}_{kind}", may_pause, partial(act, page, kind))
        for word, act in (("pause", _pause), ("resume", _resume))
        for kind in (Kind.TASK, Kind.QUEUE)
    ]


def context(request: HttpRequest, record: TaskRecord) -> dict[str, Any]:
    """Return the pauses that hold a task, for its page, and the buttons that the user may press."""
    named = {(Kind.TASK, record.name), (Kind.QUEUE, record.queue), (Kind.EVERYTHING, "")}
    found = {pause.kind: pause for pause in pausing.pauses() if (pause.kind, pause.name) in named}
    may = may_pause(request)
    return {
        "pauses": [_described(pause) for pause in found.values()],
        "reason_field": REASON,
        "can_pause_or_resume": may,
        "task_is_paused": Kind.TASK in found,
        "queue_is_paused": Kind.QUEUE in found,
    }


def _described(pause: Pause) -> dict[str, object]:
    return {
        "what": f"{KIND_WORDS[pause.kind]} {pause.name}".strip(),
        "who": pause.paused_by or gettext("an unknown user"),
        "since": show.moment(pause.paused_at),
        "until": None if pause.until is None else show.moment(pause.until),
        "reason": pause.reason,
    }


def _name(kind: Kind, record: TaskRecord) -> str:
    return str(record.name if kind is Kind.TASK else record.queue)


def _pause(page: ActingAdmin, kind: Kind, request: HttpRequest, records: Sequence[TaskRecord]) -> None:
    (record,) = records
    name, reason = _name(kind, record), request.POST.get(REASON, "").strip()
    words = gettext("Paused: %(kind)s %(name)s.") % {"kind": KIND_WORDS[kind], "name": name}
    log = page.log_for(request, words, records)
    pausing.pause_quietly(
        **target(kind, name), reason=reason, by=request.user.get_username(), log=lambda keys: log([record.pk])
    )
    page.message_user(request, words, messages.SUCCESS)


def _resume(page: ActingAdmin, kind: Kind, request: HttpRequest, records: Sequence[TaskRecord]) -> None:
    (record,) = records
    name = _name(kind, record)
    words = gettext("Resumed: %(kind)s %(name)s.") % {"kind": KIND_WORDS[kind], "name": name}
    log = page.log_for(request, words, records)
    if pausing.resume(**target(kind, name), log=lambda keys: log([record.pk])):
        page.message_user(request, words, messages.SUCCESS)
    else:
        page.message_user(request, gettext("It is not paused."), messages.WARNING)
