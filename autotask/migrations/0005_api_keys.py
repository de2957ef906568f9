"""The keys of the HTTP API, the idempotency keys of its requests, and the permission to submit tasks through it."""

from django.db import migrations, models

from autotask.models import NamesField


class Migration(migrations.Migration):
    dependencies = [("autotask", "0004_flow")]

    operations = [
        migrations.AlterModelOptions(
            name="taskrecord",
            options={
                "default_permissions": ("view",),
                "managed": False,
                "permissions": [
                    ("retry_task", "Can retry tasks"),
                    ("cancel_task", "Can cancel tasks"),
                    ("submit_task", "Can submit tasks through the HTTP API"),
                ],
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(verbose_name="name")),
                ("digest", models.TextField()),
                ("scopes", NamesField(verbose_name="scopes")),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("used_at", models.DateTimeField(null=True, verbose_name="last used")),
                ("revoked_at", models.DateTimeField(null=True, verbose_name="revoked")),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "db_table": "autotask_api_key",
                "permissions": [("issue_keys", "Can create and revoke API keys")],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        models.F("name"),
                        condition=models.Q(revoked_at__isnull=True),
                        name="autotask_api_key_name",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "caller", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("caller", models.TextField()),
                ("key", models.TextField()),
                ("fingerprint", models.TextField()),
                ("task_id", models.UUIDField()),
                ("until", models.DateTimeField()),
            ],
            options={
                "db_table": "autotask_idempotency_key",
                "default_permissions": (),
                "indexes": [models.Index(models.F("until"), name="autotask_idempotency_until")],
            },
        ),
    ]
