"""SimpleTaskAdmin: the base of the admin pages of model tasks."""

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.translation import gettext, gettext_lazy as _

from autotask.admin import show, viewing
from autotask.conf import settings
from autotask.exceptions import AutotaskError, RowBusy
from autotask.model_tasks import SimpleTask, Status
from autotask.models import Task, TaskRecord
from autotask.store import model_rows
from autotask.store.connection import current
from autotask.store.model_rows import ChannelSize

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # cannot be subscripted at run time

#: The columns that workers write, and the acts.
OWN_FIELDS = ("task_state", "task_step", "task_times", "task_link", "success", "result", "error_message", "done_time")

#: At most this many live tasks are counted for the sizes of channels.
MOST_COUNTED = 100_000

#: The colours of the style sheet.
_KINDS = {Status.READY: "ready", Status.DOING: "running"}


class StatusFilter(admin.SimpleListFilter):
    """Ready, doing or done."""

    title = _("state")
    parameter_name = "task_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return the choices."""
        return Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows with the chosen status."""
        value = self.value()
        return queryset.filter(status=int(value)) if value and value.isdecimal() else queryset


class ChannelFilter(admin.SimpleListFilter):
    """The channels, with the numbers of tasks that wait and run there."""

    title = _("channel")
    parameter_name = "task_channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        definition = model_admin.model.task_definition
        sizes = model_rows.sizes(current(), definition.name, MOST_COUNTED)
        return [(size.queue, _size(size)) for size in sizes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Keep the rows whose tasks are live in the chosen channel."""
        value = self.value()
        if not value:
            return queryset
        live = Task.objects.using(settings.DATABASE).filter(id=OuterRef("task_id"), queue=value)
        return queryset.filter(Exists(live))


class SimpleTaskAdmin(ModelAdmin):
    """The base of the admin page of a model whose rows are tasks.

    ::

        @admin.register(PriceTask)
        class PriceTaskAdmin(SimpleTaskAdmin):
            list_display = ("url", "task_state", "task_step", "task_link")

    ``task_state``, ``task_step``, ``task_times`` and ``task_link`` can be in ``list_display`` and ``fields``.
    """

    list_display = ("__str__", "task_state", "task_step", "success", "add_time", "done_time", "task_link")
    list_filter = (StatusFilter, ChannelFilter, "success")
    readonly_fields = OWN_FIELDS
    actions = ("start_again", "run_now", "mark_done")

    class Media:
        css = {"all": ["autotask/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows, with their status."""
        viewing.note(request)
        return self.model._default_manager.all().with_status()  # type: ignore[no-any-return]  # checked by E035

    @admin.display(description=_("state"), ordering="status")
    def task_state(self, row: Any) -> str:
        """Show the status, or how the task has ended."""
        status = Status(row.status)
        if status is not Status.DONE:
            return show.pill(status.label, _KINDS[status])
        if row.success is False:
            return show.pill(gettext("failed"), "error", row.error_message[:200])
        return show.pill(status.label, "done")

    @admin.display(description=_("step"), ordering="current_step")
    def task_step(self, row: SimpleTask) -> str:
        """Show the step that comes next, or was the last."""
        return gettext("%(number)d of %(most)d") % {"number": row.current_step, "most": row.final_step}

    @admin.display(description=_("times"))
    def task_times(self, row: SimpleTask) -> str:
        """Show when each step has begun and ended."""
        lines = [
            (number, times["start"], times["end"]) for number, times in sorted(row.step_times.items(), key=_number)
        ]
        return format_html_join("", "<div>{}: {} – {}</div>", lines) if lines else show.NOTHING

    @admin.display(description=_("task"))
    def task_link(self, row: SimpleTask) -> str:
        """Show a link to the task."""
        if row.task_id is None:
            return show.NOTHING
        address = None
        if self.admin_site.is_registered(TaskRecord) and viewing.may_open(TaskRecord):
            address = reverse("admin:autotask_taskrecord_change", args=(row.task_id,), current_app=self.admin_site.name)
        return show.link(address, row.task_id.hex[-8:])

    # --- acts -------------------------------------------------------------------------------------------------------

    def has_start_again_permission(self, request: HttpRequest) -> bool:
        """Whether the user may start rows again, and run them now."""
        return self.has_change_permission(request) and request.user.has_perm("autotask.retry_task")

    def has_mark_done_permission(self, request: HttpRequest) -> bool:
        """Whether the user may mark rows as done."""
        return self.has_change_permission(request) and request.user.has_perm("autotask.cancel_task")

    @admin.action(description=_("Start again from step 1"), permissions=["start_again"])
    def start_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Begin again at step 1."""
        self._act(request, queryset, SimpleTask.start_again, gettext("Started again from step 1."))

    @admin.action(description=_("Run now"), permissions=["start_again"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Have workers run the next step at once."""
        self._act(request, queryset, SimpleTask.run_now, gettext("Run now."))

    @admin.action(description=_("Mark as done"), permissions=["mark_done"])
    def mark_done(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Cancel the tasks, and end the rows."""
        self._act(request, queryset, SimpleTask.mark_done, gettext("Marked as done."))

    def _act(
        self, request: HttpRequest, rows: QuerySet[Any], act: Callable[[SimpleTask], bool | None], words: str
    ) -> None:
        said: Counter[str] = Counter()
        for row in rows:
            try:
                if act(row) is False:
                    said[gettext("its task does not wait")] += 1
                    continue
            except RowBusy:
                said[gettext("its task runs")] += 1
                continue
            except AutotaskError as problem:
                said[str(problem)] += 1
                continue
            said[""] += 1
            self.log_change(request, row, words)
        if done := said.pop("", 0):
            self.message_user(request, f"{words} ({done})", messages.SUCCESS)
        for why, number in said.items():
            left = gettext("Left as it is: %(why)s (%(number)d).") % {"why": why, "number": number}
            self.message_user(request, left, messages.WARNING)


def _size(size: ChannelSize) -> str:
    if size.waiting + size.running >= MOST_COUNTED:
        return gettext("%(channel)s: %(most)d or more") % {"channel": size.queue, "most": MOST_COUNTED}
    words = gettext("%(channel)s: %(waiting)d waiting, %(running)d running")
    return words % {"channel": size.queue, "waiting": size.waiting, "running": size.running}


def _number(step: tuple[str, Any]) -> int:
    return int(step[0])
