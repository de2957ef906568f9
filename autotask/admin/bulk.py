"""The page that acts on all tasks that match the filters of the list: it shows how many there are, and asks."""

import copy
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from autotask.admin import show, states, tabs
from autotask.admin.bulk_words import ACTS, FASTEST, SLOWEST, Word, may
from autotask.admin.filters import STATES
from autotask.admin.listing import COUNTED, id_digits
from autotask.conf import settings
from autotask.models import TaskRecord
from autotask.store import causes, glance, matching
from autotask.store.causes import Cause
from autotask.store.connection import current
from autotask.store.glance import Count
from autotask.store.matching import Filter
from autotask.task import MAX_PRIORITY, MIN_PRIORITY, State

if TYPE_CHECKING:
    from autotask.admin.tasks import TaskAdmin

#: Tasks that are shown as examples.
SAMPLE = 10


class Matching(NamedTuple):
    """The request that the address of the page makes.

    :ivar rows: the tasks that match, as the list has them; None: of a cause.
    :ivar cause: the failures of a cause; None: of none, or none are left.
    """

    wanted: Filter
    rows: Any
    cause: Cause | None = None


def refuse_repeating(request: HttpRequest, records: Iterable[TaskRecord]) -> None:
    """Refuse to retry an act on all tasks for a user who may not ask for it: it would be done in another user's name.

    :raises PermissionDenied: it is among the tasks, and the user has no permission for it.
    """
    from autotask.admin import act_on_all

    for record in records:
        if record.name == act_on_all.act_on_all.name:
            found = re.match(r"act='(\w+)'", record.arguments)
            meant = [word for word in ACTS if found is None or word == found[1]]
            if not meant or not all(may(request.user, word) for word in meant):
                raise PermissionDenied


def words_for(request: HttpRequest) -> list[Word]:
    """Return the acts that the user may do to all tasks that match."""
    return [word for word in ACTS if may(request.user, word)]


def view(page: "TaskAdmin", request: HttpRequest) -> HttpResponse:
    """Show how many tasks match, or enqueue the task that acts on them."""
    words = words_for(request)
    if not words or not page.shows_all() or not page.has_view_permission(request):
        raise PermissionDenied
    try:
        found = _matching(page, request)
    except (IncorrectLookupParameters, DisallowedModelAdminLookup, SuspiciousOperation, ValueError):
        page.message_user(request, gettext("The filter in the address is not valid."), messages.WARNING)
        return HttpResponseRedirect(page.tasks_address() or "..")
    choices = {word: _count(found, ACTS[word].states) for word in words}
    if request.method == "POST" and (chosen := _chosen(page, request, words)) is not None:
        return _enqueued(page, request, found.wanted, chosen, choices[chosen.word])
    return _shown(page, request, found, choices)


def _matching(page: "TaskAdmin", request: HttpRequest) -> Matching:
    """Return the conditions that the filters of the list, or a cause, set."""
    asked = copy.copy(request)
    asked.GET = asked.GET.copy()  # type: ignore[assignment]  # a copy can be changed
    cause = asked.GET.get("cause", "")
    for name in ("cause", "do", "p", "e"):
        asked.GET.pop(name, None)  # type: ignore[misc]  # as above
    if cause:
        same = next((each for each in causes.causes(current()) if each.key == cause), None)
        return Matching(Filter(state=State.ERROR, cause=cause), None, same)
    changes = page.get_changelist_instance(asked)
    specs = [spec for spec in changes.filter_specs if isinstance(spec, SimpleListFilter)]  # there are no others
    chosen = {spec.parameter_name: spec.value() or "" for spec in specs}
    digits = id_digits(changes.query)
    named = ("" if digits else changes.query.strip(), chosen.get("task", ""))
    wanted = Filter(
        state=STATES.get(chosen.get("state", "")),
        queue=chosen.get("queue", ""),
        names=tuple(name for name in named if name),
        tag=chosen.get("tag", ""),
        gate=chosen.get("gate", ""),
        subject=chosen.get("subject", ""),
        first=uuid.UUID(digits.ljust(32, "0")) if digits else None,
        last=uuid.UUID(digits.ljust(32, "f")) if digits else None,
    )
    return Matching(wanted, changes.get_queryset(asked))


def _count(found: Matching, eligible: Sequence[State]) -> Count:
    wanted = found.wanted
    eligible = [state for state in eligible if wanted.state in (None, state)]
    if wanted.cause:
        number = found.cause.count if found.cause and eligible else 0
        return Count(number, number < causes.WINDOW)
    if wanted == Filter(state=wanted.state):
        counts = [count for state, count in glance.counts(current()).items() if state in eligible]
        return Count(sum(count.number for count in counts), all(count.is_exact for count in counts))
    counted = found.rows.filter(state__in=eligible, expired=False).order_by()[: COUNTED + 1].count()
    return Count(min(counted, COUNTED), counted <= COUNTED)


class Chosen(NamedTuple):
    """The act in the form, with what it needs.

    :ivar rate: how many tasks should be retried in a second; None: all at once.
    """

    word: Word
    priority: int | None = None
    rate: float | None = None


def _chosen(page: "TaskAdmin", request: HttpRequest, words: Sequence[Word]) -> Chosen | None:
    """Return the act in the form; None, with a message, if it is not valid."""
    act, text = request.POST.get("act", ""), request.POST.get("priority", "")
    if act not in words:
        page.message_user(request, gettext("Choose what to do."), messages.WARNING)
        return None
    if act == Word.RETRY and (rate := request.POST.get("rate", "").strip()):
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,4})?", rate) or not SLOWEST <= float(rate) <= FASTEST:
            said = gettext("The rate has to be a number from %(least)s to %(most)s, or left out.")
            page.message_user(request, said % {"least": SLOWEST, "most": FASTEST}, messages.WARNING)
            return None
        return Chosen(Word.RETRY, rate=float(rate))
    if act != Word.PRIORITIZE:
        return Chosen(Word(act))
    if not re.fullmatch(r"-?\d{1,3}", text) or not MIN_PRIORITY <= int(text) <= MAX_PRIORITY:
        said = gettext("The priority has to be a whole number from %(least)d to %(most)d.")
        page.message_user(request, said % {"least": MIN_PRIORITY, "most": MAX_PRIORITY}, messages.WARNING)
        return None
    return Chosen(Word.PRIORITIZE, int(text))


def _enqueued(page: "TaskAdmin", request: HttpRequest, wanted: Filter, chosen: Chosen, count: Count) -> HttpResponse:
    # Imported here: its module registers a task, which other pages would list.
    from autotask.admin import act_on_all

    total = count.number if count.is_exact else 0
    id = act_on_all.enqueue(chosen.word, wanted, chosen.priority, request.user.pk, total, chosen.rate)
    said = gettext("%(act)s: all tasks that match") % {"act": ACTS[chosen.word].label}
    page.log_for(request, said, [TaskRecord(id=id, name=act_on_all.act_on_all.name)])([id])
    page.message_user(request, gettext("A task does it now; this page shows how far it has come."), messages.SUCCESS)
    return HttpResponseRedirect(page.task_address(id) or "..")


def _shown(page: "TaskAdmin", request: HttpRequest, found: Matching, choices: dict[Word, Count]) -> HttpResponse:
    context = {
        **page.admin_site.each_context(request),
        **tabs.context(request, page.admin_site, "taskrecord"),
        "title": gettext("Act on all tasks that match"),
        "opts": page.opts,
        "media": page.media,
        "criteria": list(_criteria(found)),
        "choices": [
            {
                "word": word.value,
                "label": ACTS[word].label,
                "number": states.number(count),
                "is_empty": not count.number,
                "takes_priority": word is Word.PRIORITIZE,
                "takes_rate": word is Word.RETRY,
            }
            for word, count in choices.items()
        ],
        "chosen": request.POST.get("act") or request.GET.get("do", ""),
        "sample": _sample(page, found),
        "back": page.tasks_address(),
        "least": MIN_PRIORITY,
        "most": MAX_PRIORITY,
        "slowest": SLOWEST,
        "fastest": FASTEST,
    }
    return TemplateResponse(request, "admin/autotask/taskrecord/all.html", context)


def _criteria(found: Matching) -> Iterator[tuple[object, object]]:
    wanted = found.wanted
    if wanted.state is not None:
        yield gettext("state"), show.state(wanted.state)
    for name in wanted.names:
        yield gettext("task"), show.name(name)
    for label, value in (
        (gettext("queue"), wanted.queue),
        (gettext("tag"), wanted.tag),
        (gettext("gate"), wanted.gate),
        (gettext("subject"), wanted.subject),
    ):
        if value:
            yield label, value
    if found.cause is not None:
        yield gettext("error"), f"{found.cause.name}: {found.cause.error}"
    if wanted.first is not None:
        yield gettext("ids"), f"{wanted.first} – {wanted.last}"


def _sample(page: "TaskAdmin", found: Matching) -> list[dict[str, object]]:
    rows = _of_cause(found) if found.rows is None else found.rows
    return [
        {
            "state": show.state(record.state),
            "name": show.link(page.task_address(record.id), show.name(record.name)),
            "arguments": show.shortened(record.arguments, 80),
        }
        for record in rows.order_by("-id")[:SAMPLE]
    ]


def _of_cause(found: Matching) -> QuerySet[TaskRecord]:
    """Return the newest failures of a cause, from the newest one on."""
    if found.cause is None:
        return TaskRecord.objects.none()
    wanted = replace(found.wanted, last=found.cause.newest)
    piece = next(matching.pieces(current(), wanted, [State.ERROR], datetime.now(UTC)))
    return TaskRecord.objects.using(settings.DATABASE).filter(id__in=list(piece)[:SAMPLE])
