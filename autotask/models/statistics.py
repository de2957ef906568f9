"""The table of statistics."""

from django.db import models

from autotask.models.fields import NumbersField


class Statistics(models.Model):
    """The counts of the tasks of one name and queue in one minute, one hour, or since the table was made.

    :ivar period: seconds, with 0 for all times.
    :ivar at: when the period began; 1970 for all times.
    :ivar waiting: how many attempts waited how long, by the buckets of :data:`autotask.statistics.BOUNDS`.
    :ivar running: the same for how long they ran.
    """

    pk = models.CompositePrimaryKey("period", "at", "name", "queue")
    period = models.IntegerField()
    at = models.DateTimeField()
    name = models.TextField()
    queue = models.TextField()
    started = models.BigIntegerField()
    succeeded = models.BigIntegerField()
    failed = models.BigIntegerField()
    retried = models.BigIntegerField()
    cancelled = models.BigIntegerField()
    lost = models.BigIntegerField()
    waited = models.FloatField()
    ran = models.FloatField()
    waiting = NumbersField()
    running = NumbersField()

    class Meta:
        db_table = "autotask_statistics"
        default_permissions = ()
