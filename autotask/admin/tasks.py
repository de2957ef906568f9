"""The pages of tasks, live and finished in one list, with buttons to retry and cancel them."""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _, ngettext_lazy

from autotask.acts import tasks
from autotask.acts.answers import Answer, Refusal
from autotask.acts.tasks import CANCELLABLE, RETRYABLE
from autotask.admin import bulk, flow, notices, pausing, show, states, subjects, task_log, timeline
from autotask.admin.acting import Button
from autotask.admin.filters import STATES, GateFilter, QueueFilter, StateFilter, SubjectFilter, TagFilter, TaskFilter
from autotask.admin.listing import TaskList, TaskPaginator, attach_workers, search
from autotask.admin.readonly import ReadOnlyAdmin
from autotask.admin.task_columns import TaskColumns
from autotask.conf import settings
from autotask.documents import MOST_ATTEMPTS
from autotask.models import Attempt, TaskRecord
from autotask.store import glance
from autotask.store.connection import current
from autotask.task import State
from autotask.why import unserved

#: The most tasks for one action, so that the request ends in time.
MOST_AT_ONCE = 5000

Act = Callable[..., None]


class TaskAdmin(TaskColumns):
    """Tasks that wait, run or have finished, and why they failed."""

    noun = "task"
    gone = _("The task is no longer in the database.")

    list_display = ("state_and_progress", "what", "queue_name", "enqueued", "times", "attempts")
    list_display_links = None
    list_filter = (StateFilter, GateFilter, SubjectFilter, QueueFilter, TaskFilter, TagFilter)
    list_per_page = 50
    ordering = ("-id",)
    paginator = TaskPaginator
    search_fields = ("id",)  # shows the box; get_search_results() searches
    search_help_text = _(
        "An id or its beginning, or the full name of a task. "
        "Names, queues, tags and “done” are searched among the newest 100,000 tasks only."
    )
    actions = ("retry", "cancel", "run_now", "discard")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("state_pill", "queue_name", "priority"),
                    "id",
                    "task",
                    "tag_names",
                    "arguments_in_full",
                    "error",
                )
            },
        ),
        (
            _("Attempts"),
            {
                "fields": (
                    ("attempts", "failures", "workers_lost"),
                    ("worker", "runs_in", "time_limit"),
                    "progress",
                    ("schedule_name", "tick"),
                )
            },
        ),
        (_("Times"), {"fields": (("created", "due", "expires"), ("started", "ended"), ("waited", "ran"), "kept")}),
    )

    # --- the list ---------------------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that is fast with many rows."""
        return TaskList

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the one that counts up to a number, in the way that is fast for the state."""
        found: Any = super().get_paginator(request, *args, **kwargs)
        if isinstance(found, TaskPaginator):
            found.state = STATES.get(request.GET.get("state", ""))
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by id or name; a search for free text would read all rows."""
        return search(queryset, search_term), False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, with the states and their counts above it."""
        response = super().changelist_view(request, extra_context)
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            assert response.context_data is not None  # as asked above
            changes = response.context_data["cl"]
            counts = glance.counts(current())
            response.context_data["autotask_unserved"] = unserved.look(current())
            response.context_data["autotask_states"] = states.choices(
                counts,
                lambda key: changes.get_query_string({"state": key} if key else {}, ["p", *([] if key else ["state"])]),
                request.GET.get("state"),
            )
            if bulk.words_for(request) and self.shows_all():
                response.context_data["all_address"] = "all/" + changes.get_query_string(remove=["p"])
        return response

    # --- one task ---------------------------------------------------------------------------------------------------

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the task, with why it waits."""
        record = super().get_object(request, object_id, from_field)
        if record is not None:
            flow.attach(record, self.task_address, self.tasks_address())
        return record

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the parts of the page."""
        usual = flow.fieldsets(obj, super().get_fieldsets(request, obj))
        return notices.fieldsets(obj, subjects.fieldsets(obj, usual))

    def page_context(self, request: HttpRequest, obj: TaskRecord) -> dict[str, Any]:
        """Return the attempts of the task, and which buttons the user may press."""
        attach_workers([obj])
        newest = Attempt.objects.using(settings.DATABASE).filter(task_id=obj.id).order_by("-id")
        last = list(newest[: MOST_ATTEMPTS + 1])
        attempts, are_all = last[MOST_ATTEMPTS - 1 :: -1], len(last) <= MOST_ATTEMPTS
        return {
            "timeline": timeline.shown(obj, attempts, timezone.now(), are_all=are_all),
            "attempts": [_shown(attempt) for attempt in attempts],
            "more_attempts": not are_all,
            "can_retry": obj.state in RETRYABLE and not obj.expired and self.has_retry_permission(request),
            "can_run": obj.state in tasks.SCHEDULED and self.has_run_permission(request),
            "can_cancel": obj.state in CANCELLABLE and not obj.cancel_requested and self.has_cancel_permission(request),
            "can_discard": obj.state in RETRYABLE and not obj.expired and self.has_discard_permission(request),
            **flow.context(obj),
            **pausing.context(request, obj),
            **task_log.context(obj.id),
        }

    # --- retry and cancel -------------------------------------------------------------------------------------------

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may retry tasks."""
        return request.user.has_perm("autotask.retry_task")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the user may cancel tasks."""
        return request.user.has_perm("autotask.cancel_task")

    def has_discard_permission(self, request: HttpRequest) -> bool:
        """Whether the user may discard tasks that failed or were cancelled."""
        return request.user.has_perm("autotask.discard_task")

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Whether the user may run scheduled tasks at once."""
        return request.user.has_perm("autotask.run_task")

    def shows_all(self) -> bool:
        """Whether users see all tasks: a class that leaves some out cannot tell a worker which."""
        own = type(self)
        return own.get_queryset is TaskAdmin.get_queryset is ReadOnlyAdmin.get_queryset and (
            own.has_view_permission is ReadOnlyAdmin.has_view_permission
        )

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of the page that acts on all tasks that match, and of the log of a task."""
        view = self.admin_site.admin_view(partial(bulk.view, self))
        log = self.admin_site.admin_view(partial(task_log.download, self))
        return [
            path("all/", view, name="autotask_task_all"),
            path("<path:object_id>/log/", log, name="autotask_task_log"),
            *super().get_urls(),
        ]

    @admin.action(description=_("Retry selected tasks"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Run failed or cancelled tasks again."""
        self._act_on_many(request, queryset, RETRYABLE, self._retry)

    @admin.action(description=_("Cancel selected tasks"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Cancel waiting tasks, and ask running ones to stop."""
        self._act_on_many(request, queryset, CANCELLABLE, self._cancel)

    @admin.action(description=_("Run selected tasks now"), permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Make scheduled tasks due."""
        self._act_on_many(request, queryset, tasks.SCHEDULED, self._run)

    @admin.action(description=_("Discard selected tasks"), permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Delete failed or cancelled tasks."""
        self._act_on_many(request, queryset, RETRYABLE, self._discard)

    def buttons(self) -> Sequence[Button]:
        """Return the buttons on the page of a task."""
        return (
            Button("retry", self.has_retry_permission, self._retry),
            Button("cancel", self.has_cancel_permission, self._cancel),
            Button("run", self.has_run_permission, self._run),
            Button("discard", self.has_discard_permission, self._discard, deletes=True),
            *pausing.buttons(self),
        )

    def _act_on_many(
        self,
        request: HttpRequest,
        matching: QuerySet[Any],
        states: Sequence[State],
        act: Act,
    ) -> None:
        if request.POST.get("select_across") == "1":
            # Of all matching tasks, only those that can be acted on: the others were hardly meant.
            records = list(matching.filter(state__in=states).order_by().only("id", "name", "state")[: MOST_AT_ONCE + 1])
            act(request, records[:MOST_AT_ONCE])
            if len(records) > MOST_AT_ONCE:
                more = gettext("There are more than %(number)d: repeat the action for the others.")
                self.message_user(request, more % {"number": MOST_AT_ONCE}, messages.WARNING)
            return
        # Chosen one by one: a task whose state has changed since is still meant, and reported.
        chosen = {uuid.UUID(id) for id in request.POST.getlist(ACTION_CHECKBOX_NAME)}
        found = list(self.get_queryset(request).filter(id__in=chosen))
        act(request, found, chosen.difference(_ids(found)))

    def _cancelled(self, request: HttpRequest, records: Sequence[TaskRecord]) -> list[Answer[uuid.UUID]]:
        return tasks.cancel(
            _ids(records),
            self.log_for(request, gettext("Cancelled."), records),
            log_asked=self.log_for(request, gettext("Asked to stop."), records),
            by=request.user.get_username(),
        )

    def _retry(self, request: HttpRequest, records: Sequence[TaskRecord], missing: Iterable[uuid.UUID] = ()) -> None:
        bulk.refuse_repeating(request, records)
        self._tell(
            request,
            [*tasks.retry(_ids(records), self.log_for(request, gettext("Retried."), records)), *_gone(missing)],
            ngettext_lazy("%(number)d task will run again.", "%(number)d tasks will run again.", "number"),
            ngettext_lazy("%(number)d task was not retried", "%(number)d tasks were not retried", "number"),
        )

    def _cancel(self, request: HttpRequest, records: Sequence[TaskRecord], missing: Iterable[uuid.UUID] = ()) -> None:
        self._tell(
            request,
            [*self._cancelled(request, records), *_gone(missing)],
            ngettext_lazy("%(number)d task was cancelled.", "%(number)d tasks were cancelled.", "number"),
            ngettext_lazy("%(number)d task was not cancelled", "%(number)d tasks were not cancelled", "number"),
        )

    def _run(self, request: HttpRequest, records: Sequence[TaskRecord], missing: Iterable[uuid.UUID] = ()) -> None:
        self._tell(
            request,
            [*tasks.run_now(_ids(records), self.log_for(request, gettext("Made due."), records)), *_gone(missing)],
            ngettext_lazy("%(number)d task is due now.", "%(number)d tasks are due now.", "number"),
            ngettext_lazy("%(number)d task was not changed", "%(number)d tasks were not changed", "number"),
        )

    def _discard(self, request: HttpRequest, records: Sequence[TaskRecord], missing: Iterable[uuid.UUID] = ()) -> None:
        self._tell(
            request,
            [*tasks.discard(_ids(records), self.log_for(request, gettext("Discarded."), records)), *_gone(missing)],
            ngettext_lazy("%(number)d task was discarded.", "%(number)d tasks were discarded.", "number"),
            ngettext_lazy("%(number)d task was not discarded", "%(number)d tasks were not discarded", "number"),
        )

    def _tell(self, request: HttpRequest, answers: Sequence[Answer[uuid.UUID]], done: Any, not_done: Any) -> None:
        asked_to_stop = ngettext_lazy(
            "%(number)d running task was asked to stop.", "%(number)d running tasks were asked to stop.", "number"
        )
        refused = Counter(answer.refused for answer in answers if answer.refused is not None)
        asked = sum(answer.is_asked for answer in answers)
        for words, number in ((done, len(answers) - asked - refused.total()), (asked_to_stop, asked)):
            if number:
                self.message_user(request, words % {"number": number}, messages.SUCCESS)
        if refused:
            reasons = ", ".join(f"{_why_not(reason)} ({number})" for reason, number in refused.most_common())
            self.message_user(request, f"{not_done % {'number': refused.total()}}: {reasons}.", messages.WARNING)
        if not answers:
            self.message_user(request, gettext("No task here is in a state for that."), messages.WARNING)


def _ids(records: Iterable[TaskRecord]) -> list[uuid.UUID]:
    return [record.id for record in records]


def _gone(ids: Iterable[uuid.UUID]) -> list[Answer[uuid.UUID]]:
    return [Answer(id, Refusal.GONE) for id in ids]


def _why_not(reason: State | Refusal) -> str:
    if isinstance(reason, State):
        return gettext("already cancelled") if reason is State.CANCELLED else str(show.STATE_WORDS[reason])
    if reason is Refusal.NEEDED:
        return gettext("mails or webhooks are still to be sent, or rows of the site refer to it")
    return gettext("no longer in the database")


def _shown(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "state": show.state(attempt.state),
        "ended": show.exact_moment(attempt.ended_at),
        "ran": show.duration(attempt.ended_at - attempt.started_at if attempt.started_at else None),
        "worker": attempt.worker_id,
        "error": attempt.error_message or attempt.error_type,
        "traceback": attempt.traceback,
    }
