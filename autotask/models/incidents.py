"""The incidents of AUTOTASK_ALERTS."""

from django.db import models


class Incident(models.Model):
    """An incident; the row without a key is the turn to look for them."""

    key = models.TextField(primary_key=True)
    rule = models.TextField()
    text = models.TextField()
    facts = models.JSONField(null=True)
    to = models.JSONField(null=True)
    quiet = models.FloatField(null=True)
    began_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    due_at = models.DateTimeField()
    told = models.SmallIntegerField()
    told_at = models.DateTimeField(null=True)
    remaining = models.JSONField(null=True)
    tries = models.IntegerField()

    class Meta:
        db_table = "autotask_incident"
        default_permissions = ()
