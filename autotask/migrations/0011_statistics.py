"""Statistics of tasks, by minute, by hour, and since ever. Until the first worker writes, the table is empty."""

from django.db import migrations, models

import autotask.models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0010_expiring")]

    operations = [
        migrations.CreateModel(
            "Statistics",
            [
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "period", "at", "name", "queue", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("period", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("name", models.TextField()),
                ("queue", models.TextField()),
                ("started", models.BigIntegerField()),
                ("succeeded", models.BigIntegerField()),
                ("failed", models.BigIntegerField()),
                ("retried", models.BigIntegerField()),
                ("cancelled", models.BigIntegerField()),
                ("lost", models.BigIntegerField()),
                ("waited", models.FloatField()),
                ("ran", models.FloatField()),
                ("waiting", autotask.models.NumbersField()),
                ("running", autotask.models.NumbersField()),
            ],
            options={"db_table": "autotask_statistics", "default_permissions": ()},
        ),
    ]
