"""The tables of background workers, their instances and their triggers."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class BackgroundWorker(models.Model):
    """One row per background worker: whether it should run, and with which arguments."""

    name = models.TextField(_("background worker"), primary_key=True)
    kind = models.TextField(_("kind"))
    per = models.TextField(_("one per"))
    queue = models.TextField(_("queue"))
    wanted = models.BooleanField(_("to run"))
    decided = models.BooleanField(
        db_default=False, help_text=_("Whether somebody, or its function, has decided that, and not just the code.")
    )
    start_id = models.UUIDField(help_text=_("Identifies the last start."))
    setup = models.BinaryField(null=True, help_text=_("The signed arguments of the last start."))
    ended = models.TextField(_("has stopped by itself"), db_default="")
    declared_at = models.DateTimeField(_("declared"), help_text=_("When a worker last said that its code has it."))

    class Meta:
        db_table = "autotask_background"
        verbose_name = _("background worker")
        verbose_name_plural = _("background workers")
        default_permissions = ("view",)
        permissions = [
            ("start_backgroundworker", _("Can start background workers")),
            ("stop_backgroundworker", _("Can stop background workers")),
            ("trigger_backgroundworker", _("Can trigger background workers")),
        ]

    def __str__(self) -> str:
        return self.name


class BackgroundInstance(models.Model):
    """One instance of a background worker: that of the site, of a host or of a worker. Only its host writes to it."""

    pk = models.CompositePrimaryKey("name", "place")
    name = models.TextField()
    place = models.TextField(help_text=_("Empty for the site; otherwise names the host or the worker."))
    worker_id = models.UUIDField(null=True)
    fence = models.BigIntegerField()
    start_id = models.UUIDField()
    host = models.TextField()
    pid = models.IntegerField()
    began_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField()
    runs = models.BigIntegerField(db_default=0)
    errors = models.BigIntegerField(db_default=0)
    last_run_at = models.DateTimeField(null=True)
    last_error = models.TextField(db_default="")
    last_error_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "autotask_background_instance"
        default_permissions = ()


class BackgroundTrigger(models.Model):
    """A trigger of one instance that belongs to a host or a worker, until its run has ended."""

    name = models.TextField()
    place = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "autotask_background_trigger"
        default_permissions = ()
        indexes = [models.Index(fields=["name", "place"], name="autotask_trigger_place")]
