"""Background workers: which of them are to run, their instances, and the order of their messages."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0008_one_per_key")]

    operations = [
        migrations.CreateModel(
            name="BackgroundInstance",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "name", "place", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.TextField()),
                ("place", models.TextField(help_text="Empty for the site; otherwise names the host or the worker.")),
                ("worker_id", models.UUIDField(null=True)),
                ("fence", models.BigIntegerField()),
                ("start_id", models.UUIDField()),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("began_at", models.DateTimeField(null=True)),
                ("taken_at", models.DateTimeField()),
                ("runs", models.BigIntegerField(db_default=0)),
                ("errors", models.BigIntegerField(db_default=0)),
                ("last_run_at", models.DateTimeField(null=True)),
                ("last_error", models.TextField(db_default="")),
                ("last_error_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": "autotask_background_instance", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="BackgroundWorker",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False, verbose_name="background worker")),
                ("kind", models.TextField(verbose_name="kind")),
                ("per", models.TextField(verbose_name="one per")),
                ("queue", models.TextField(verbose_name="queue")),
                ("wanted", models.BooleanField(verbose_name="to run")),
                ("start_id", models.UUIDField(help_text="Identifies the last start.")),
                ("setup", models.BinaryField(help_text="The signed arguments of the last start.", null=True)),
                ("ended", models.TextField(db_default="", verbose_name="has stopped by itself")),
                (
                    "declared_at",
                    models.DateTimeField(
                        help_text="When a worker last said that its code has it.", verbose_name="declared"
                    ),
                ),
            ],
            options={
                "verbose_name": "background worker",
                "verbose_name_plural": "background workers",
                "db_table": "autotask_background",
                "permissions": [
                    ("start_backgroundworker", "Can start background workers"),
                    ("stop_backgroundworker", "Can stop background workers"),
                    ("trigger_backgroundworker", "Can trigger background workers"),
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.AddIndex(
            "task",
            models.Index(
                models.F("name"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("run_at"),
                models.F("id"),
                condition=models.Q(("executor", "background"), ("state", 1)),
                name="autotask_message",
            ),
        ),
    ]
