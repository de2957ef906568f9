"""The lines that tasks log. Without AUTOTASK_LOGS, the table stays empty."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0013_background_places")]

    operations = [
        migrations.CreateModel(
            "LogPiece",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.UUIDField()),
                ("attempt", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("text", models.TextField()),
            ],
            options={
                "db_table": "autotask_log",
                "default_permissions": (),
                "indexes": [
                    models.Index(models.F("task_id"), models.F("id"), name="autotask_log_of_task"),
                    models.Index(models.F("at"), name="autotask_log_at"),
                ],
            },
        ),
    ]
