"""The tables of workers and schedules."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Worker(models.Model):
    """One row per running worker. No index on columns that heartbeats change, so that they stay HOT updates."""

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.TextField(_("kind"))
    host = models.TextField(_("host"))
    boot_id = models.TextField()
    pid = models.IntegerField(_("pid"))
    pid_started = models.BigIntegerField()
    serves_pid = models.IntegerField(_("Django process"), null=True)
    queues = models.TextField(_("queues"), db_default="", help_text=_("Comma-separated; empty means all."))
    threads = models.SmallIntegerField(_("threads"))
    executors = models.TextField(db_default="")
    version = models.TextField(_("version"))
    zone_data = models.TextField(_("time zone data"), db_default="")
    stopping = models.BooleanField(_("stopping"), db_default=False)
    line = models.TextField(db_default="")
    idle = models.BooleanField(db_default=False)
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last seen"))
    lease_until = models.DateTimeField(_("lease until"))

    class Meta:
        db_table = "autotask_worker"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Schedule(models.Model):
    """One row per periodic or cron task, with its next tick."""

    name = models.TextField(_("schedule"), primary_key=True)
    task = models.TextField(_("task"))
    spec = models.TextField(_("when"))
    former = models.TextField(
        db_default="", help_text=_("The timetables that it had before, for workers whose code is older; one a line.")
    )
    registered_at = models.DateTimeField(_("registered"))
    last_tick = models.DateTimeField(_("last tick"), null=True)
    next_tick = models.DateTimeField(_("next tick"))
    held = models.TextField(
        _("held ticks"), db_default="", help_text=_("Ticks whose tasks wait for the end of an earlier one.")
    )
    declared_at = models.DateTimeField(
        _("declared"), help_text=_("When a worker last said that its code has this schedule.")
    )
    paused_at = models.DateTimeField(_("paused"), null=True)
    paused_by = models.TextField(_("paused by"), db_default="")
    resumed_at = models.DateTimeField(
        _("resumed"), null=True, help_text=_("Ticks from before this moment are not made up for.")
    )

    class Meta:
        db_table = "autotask_schedule"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view",)
        permissions = [
            ("pause_schedule", _("Can pause and resume schedules")),
            ("run_schedule", _("Can run schedules")),
        ]

    def __str__(self) -> str:
        return self.name
