"""The tables of the HTTP API: its keys, and the idempotency keys of its callers."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from autotask.models.fields import NamesField


class ApiKey(models.Model):
    """A key of the HTTP API: its name, what it allows, and the SHA-256 of its secret."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(_("name"))
    digest = models.TextField()
    scopes = NamesField(_("scopes"))
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"), null=True)
    used_at = models.DateTimeField(_("last used"), null=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)

    class Meta:
        db_table = "autotask_api_key"
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        default_permissions = ("view",)
        permissions = [("issue_keys", _("Can create and revoke API keys"))]
        constraints = [
            models.UniqueConstraint("name", name="autotask_api_key_name", condition=models.Q(revoked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name


class IdempotencyKey(models.Model):
    """An idempotency key of a caller of the HTTP API, and the task that its first request made.

    :ivar fingerprint: of the request, so that another one with the same key is noticed.
    :ivar until: when it is forgotten.
    """

    pk = models.CompositePrimaryKey("caller", "key")
    caller = models.TextField()
    key = models.TextField()
    fingerprint = models.TextField()
    task_id = models.UUIDField()
    until = models.DateTimeField()

    class Meta:
        db_table = "autotask_idempotency_key"
        default_permissions = ()
        indexes = [models.Index("until", name="autotask_idempotency_until")]
