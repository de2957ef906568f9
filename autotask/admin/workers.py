"""The pages of workers: whether they are alive, and their running tasks."""

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, DurationField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy as _, pgettext_lazy

from autotask.admin import show
from autotask.admin.readonly import ReadOnlyAdmin
from autotask.conf import settings
from autotask.models import LiveTask, Worker
from autotask.store.connection import current
from autotask.store.workers import RUNNING
from autotask.task import State
from autotask.why import unserved

KINDS = {
    "companion": pgettext_lazy("kind of worker", "companion"),
    "worker": pgettext_lazy("kind of worker", "dedicated worker"),
}

#: Running tasks listed on the page of a worker.
MOST_TASKS = 100


class WorkerAdmin(ReadOnlyAdmin):
    """Workers; those whose lease is over are marked as lost."""

    list_display = (
        "name",
        "life",
        "kind_word",
        "django_process",
        "served_queues",
        "thread_count",
        "running",
        "seen",
        "started",
    )
    list_display_links = ("name",)
    list_filter = ()
    ordering = ("host", "pid")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "life",
                    "host",
                    "pid",
                    "kind_word",
                    "django_process",
                    "served_queues",
                    "threads",
                    "version",
                    "zone_data",
                )
            },
        ),
        (_("Times"), {"fields": ("started_exactly", "seen_exactly", "lease")}),
        (_("Running tasks"), {"fields": ("tasks",)}),
    )

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, and whether there is no running worker."""
        found = {"autotask_unserved": unserved.look_at_workers(current())}
        return super().changelist_view(request, {**found, **(extra_context or {})})

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the number of running tasks and, by the clock of the database, whether the lease is over."""
        workers: QuerySet[Any] = super().get_queryset(request)
        with_more: QuerySet[Any] = workers.annotate(
            running_tasks=RawSQL(RUNNING, ()),
            is_stale=ExpressionWrapper(Q(lease_until__lt=Now()), output_field=BooleanField()),
            since_seen=ExpressionWrapper(Now() - F("seen_at"), output_field=DurationField()),
        )
        return with_more

    @admin.display(description=_("worker"))
    def name(self, worker: Worker) -> str:
        """Show host and process id."""
        return show.name(str(worker))

    @admin.display(description=_("state"))
    def life(self, worker: Worker) -> str:
        """Show whether it is alive."""
        return life(is_lost=worker.is_stale, is_stopping=worker.stopping)  # type: ignore[attr-defined]  # annotated

    @show.column(_("kind"))
    def kind_word(self, worker: Worker) -> str:
        """Show whether it is a companion or a dedicated worker."""
        return str(KINDS.get(worker.kind, worker.kind))

    @show.column(_("Django process"))
    def django_process(self, worker: Worker) -> str:
        """Show the process id of the Django process whose companion it is."""
        return show.NOTHING if worker.serves_pid is None else str(worker.serves_pid)

    @show.column(_("queues"))
    def served_queues(self, worker: Worker) -> str:
        """Show the queues it serves."""
        return worker.queues.replace(",", ", ") or gettext("all")

    @show.column(_("threads"))
    def thread_count(self, worker: Worker) -> int:
        """Show in how many threads it runs tasks."""
        return worker.threads

    @show.column(_("running"))
    def running(self, worker: Worker) -> str:
        """Show how many tasks it runs."""
        return str(worker.running_tasks)  # type: ignore[attr-defined]  # annotated in get_queryset()

    @show.column(_("last seen"))
    def seen(self, worker: Worker) -> str:
        """Show how long ago its last heartbeat was."""
        since: timedelta = worker.since_seen  # type: ignore[attr-defined]  # annotated in get_queryset()
        return show.moment(worker.seen_at, gettext("%(time)s ago") % {"time": show.duration(since)})

    @show.column(_("started"))
    def started(self, worker: Worker) -> str:
        """Show how long ago it started."""
        return show.moment(worker.started_at)

    @admin.display(description=_("started"))
    def started_exactly(self, worker: Worker) -> str:
        """Show when it started."""
        return show.exact_moment(worker.started_at)

    @admin.display(description=_("last seen"))
    def seen_exactly(self, worker: Worker) -> str:
        """Show the time of its last heartbeat."""
        return show.exact_moment(worker.seen_at)

    @admin.display(description=_("lease until"))
    def lease(self, worker: Worker) -> str:
        """Show when its tasks are rescued unless it renews its lease."""
        return show.exact_moment(worker.lease_until)

    @admin.display(description=_("tasks"))
    def tasks(self, worker: Worker) -> str:
        """Show its running tasks, longest running first."""
        live = LiveTask.objects.using(settings.DATABASE).filter(worker_id=worker.id, state=State.RUNNING)
        rows = [
            (self.link_to_task(id, show.name(name)), show.moment(started))
            for id, name, started in live.order_by("started_at").values_list("id", "name", "started_at")[:MOST_TASKS]
        ]
        if not rows:
            return gettext("none")
        return format_html('<ul class="autotask-tasks">{}</ul>', format_html_join("", "<li>{} {}</li>", rows))


def life(*, is_lost: bool, is_stopping: bool) -> SafeString:
    """Return whether a worker is alive, as a word with its colour."""
    if is_lost:
        return show.pill(
            gettext("lost"), "lost", gettext("It has not renewed its lease; other workers rescue its tasks.")
        )
    if is_stopping:
        return show.pill(gettext("stopping"), "scheduled", gettext("It claims no new tasks."))
    return show.pill(gettext("alive"), "done")
