"""The tables of flow control: marks, slots, buckets and pauses."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Mark(models.Model):
    """A request to look at a gate at a moment: something has come that waits there, or that lets others pass.

    Rows are only added and deleted, never changed, so the transactions of callers hold up nobody.
    """

    id = models.BigAutoField(primary_key=True)
    gate = models.TextField()
    at = models.DateTimeField()

    class Meta:
        db_table = "autotask_mark"
        default_permissions = ()
        indexes = [models.Index("at", name="autotask_mark_at")]


class Slot(models.Model):
    """One of the slots of a limit, and the task that has it, or had it last.

    It is taken while that task is live and has passed the gate at this place; so nothing has to free it, and nothing can
    leak. Each time it is given away it gets another version, so that no two sessions give it away at once.
    """

    pk = models.CompositePrimaryKey("gate", "number")
    gate = models.TextField()
    number = models.IntegerField()
    task_id = models.UUIDField()
    place = models.SmallIntegerField()
    version = models.BigIntegerField()

    class Meta:
        db_table = "autotask_slot"
        default_permissions = ()


class Bucket(models.Model):
    """The tokens of a rate: the bucket is full again at ``full_at`` (the theoretical arrival time of GCRA)."""

    gate = models.TextField(primary_key=True)
    full_at = models.DateTimeField()
    closed_until = models.DateTimeField(null=True)
    task_id = models.UUIDField(null=True)

    class Meta:
        db_table = "autotask_bucket"
        default_permissions = ()


class Pause(models.Model):
    """Something that nobody works on until it is resumed: a queue, a task, a limit, or everything."""

    id = models.BigAutoField(primary_key=True)
    kind = models.TextField(_("kind"))
    name = models.TextField(_("name"), db_default="")
    paused_at = models.DateTimeField(_("paused"))
    paused_by = models.TextField(_("paused by"), db_default="")
    until = models.DateTimeField(_("until"), null=True)
    reason = models.TextField(_("reason"), db_default="")

    class Meta:
        db_table = "autotask_pause"
        verbose_name = _("pause")
        verbose_name_plural = _("pauses")
        default_permissions = ("view",)
        permissions = [("pause_tasks", _("Can pause and resume tasks"))]
        constraints = [models.UniqueConstraint("kind", "name", name="autotask_pause_of")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()
