"""The tables of what was left by the attempts of tasks: errors, log lines and steps."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Attempt(models.Model):
    """One attempt that did not succeed: what went wrong, and its outcome."""

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField()
    number = models.IntegerField(_("attempt"))
    fence = models.BigIntegerField()
    state = models.SmallIntegerField(_("outcome"))
    worker_id = models.UUIDField(_("worker"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    ended_at = models.DateTimeField(_("ended"))
    error_type = models.TextField(_("exception"), db_default="")
    error_message = models.TextField(_("error"), db_default="")
    traceback = models.TextField(_("traceback"), db_default="")

    class Meta:
        db_table = "autotask_attempt"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ()
        indexes = [models.Index("task_id", name="autotask_attempt_task")]


class LogPiece(models.Model):
    """Some lines that attempts have logged: of many that ended at about the same time, or of one that runs.

    Their tasks have ids from *first_id* to *last_id*.
    """

    id = models.BigAutoField(primary_key=True)
    first_id = models.UUIDField()
    last_id = models.UUIDField()
    at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        db_table = "autotask_log"
        default_permissions = ()
        indexes = [
            models.Index("first_id", "last_id", name="autotask_log_of_tasks"),
            models.Index(
                "first_id", "last_id", name="autotask_log_shared", condition=models.Q(first_id__lt=models.F("last_id"))
            ),
        ]


class Step(models.Model):
    """The result of a finished step of a task: the step is not run again.

    The steps of model tasks have a number, from 1; those of functions a name, and the number 0.
    """

    pk = models.CompositePrimaryKey("task_id", "number", "name")
    task_id = models.UUIDField()
    number = models.SmallIntegerField(_("number"))
    name = models.TextField(_("step"))
    value = models.BinaryField(null=True)
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"))

    class Meta:
        db_table = "autotask_step"
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ()
