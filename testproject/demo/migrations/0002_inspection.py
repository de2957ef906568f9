"""The table of inspections."""

import django.core.serializers.json
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("demo", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="Inspection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("add_time", models.DateTimeField(auto_now_add=True, verbose_name="added")),
                ("mod_time", models.DateTimeField(auto_now=True, verbose_name="changed")),
                ("task_id", models.UUIDField(editable=False, null=True, unique=True, verbose_name="task")),
                ("current_step", models.PositiveSmallIntegerField(default=1, editable=False, verbose_name="step")),
                ("step_times", models.JSONField(default=dict, editable=False, verbose_name="times of steps")),
                ("done_time", models.DateTimeField(db_index=True, editable=False, null=True, verbose_name="done")),
                ("success", models.BooleanField(editable=False, null=True, verbose_name="success")),
                (
                    "result",
                    models.JSONField(
                        editable=False,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        null=True,
                        verbose_name="result",
                    ),
                ),
                ("error_message", models.TextField(blank=True, default="", editable=False, verbose_name="error")),
                ("machine", models.TextField()),
                ("parts", models.IntegerField(default=0)),
            ],
        ),
    ]
