"""The models of pages that have no table of their own: the list of all tasks, and the dashboard."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from autotask.models.fields import NamesField
from autotask.models.tasks import LiveFields
from autotask.task import State, Status

if TYPE_CHECKING:
    Manager = models.Manager[Any]
else:
    Manager = models.Manager  # cannot be subscripted at run time


class View(models.Model):
    """A model of a view."""

    class Meta:
        abstract = True

    def _save_table(self, raw: bool = False, *args: Any, **options: Any) -> bool:
        # dumpdata writes views as well, and loaddata would fail on them. The rows are loaded with the tables.
        return False if raw else bool(super()._save_table(raw, *args, **options))  # type: ignore[misc]  # of Django's own


class TaskRecord(View):
    """Every task, live, finished or past: a view over their tables, for pages that list them together."""

    id = models.UUIDField(primary_key=True, editable=False)
    state = models.SmallIntegerField(_("state"))
    queue = models.TextField(_("queue"))
    priority = models.SmallIntegerField(_("priority"))
    name = models.TextField(_("task"))
    arguments = models.TextField(_("arguments"))
    created_at = models.DateTimeField(_("created"))
    run_at = models.DateTimeField(_("due"))
    started_at = models.DateTimeField(_("started"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    kept_until = models.DateTimeField(_("kept until"), null=True)
    attempt = models.IntegerField(_("attempts"))
    failures = models.IntegerField(_("failures"))
    lost = models.IntegerField(_("lost"))
    retries = models.IntegerField(_("retries"))
    ttl = models.FloatField(_("time to live"))
    timeout = models.FloatField(_("time limit"), null=True)
    executor = models.TextField(_("executor"))
    worker_id = models.UUIDField(_("worker"), null=True)
    schedule = models.TextField(_("schedule"), null=True)
    scheduled_for = models.DateTimeField(_("tick"), null=True)
    at_most_once = models.BooleanField(_("at most once"))
    progress_done = models.FloatField(_("done"), null=True)
    progress_total = models.FloatField(_("of"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    cancel_requested = models.BooleanField(_("cancellation asked for"))
    error_message = models.TextField(_("error"))
    tags = NamesField(_("tags"), null=True)
    flow = models.JSONField(_("flow control"), null=True)
    gate = models.TextField(_("gate"), null=True)
    on_end = models.TextField(_("notices"), null=True)
    subject = models.TextField(_("subject"), null=True)
    metadata = models.JSONField(_("metadata"), null=True)
    expired = models.BooleanField(_("result expired"))
    stored_state = (
        models.SmallIntegerField()
    )  # that of the row, which has indexes: one that runs is READY or HELD there

    class Meta:
        db_table = "autotask_record"
        managed = False
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        default_permissions = ("view",)
        permissions = [
            ("retry_task", _("Can retry tasks")),
            ("cancel_task", _("Can cancel tasks")),
            ("discard_task", _("Can discard failed and cancelled tasks")),
            ("run_task", _("Can run scheduled tasks at once and change priorities")),
            ("act_on_all_tasks", _("Can act on all tasks that match a filter")),
            ("submit_task", _("Can submit tasks through the HTTP API")),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    @property
    def status(self) -> Status:
        """The status, as that of its handle."""
        return State(self.state).status


class LiveTask(View, LiveFields):
    """A live task as it is: a view over tasks and claims, in which the state tells whether it is ready or runs."""

    worker_id = models.UUIDField(_("worker"), null=True)
    fence = models.BigIntegerField(null=True)

    class Meta:
        db_table = "autotask_live"
        managed = False
        default_permissions = ()


class NoRows(Manager):
    """The manager of a model without a table, for programs that read all models, such as dumpdata."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return nothing."""
        return super().get_queryset().none()


class Dashboard(models.Model):
    """The pages of the dashboard, which read other tables; it has no rows, only permissions."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
        default_permissions = ("view",)
