"""Incidents of AUTOTASK_ALERTS. Without the setting, the table stays empty."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0016_idle_workers")]

    operations = [
        migrations.CreateModel(
            "Incident",
            [
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("rule", models.TextField()),
                ("text", models.TextField()),
                ("to", models.JSONField(null=True)),
                ("quiet", models.FloatField(null=True)),
                ("began_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("due_at", models.DateTimeField()),
                ("told", models.SmallIntegerField()),
                ("told_at", models.DateTimeField(null=True)),
                ("remaining", models.JSONField(null=True)),
                ("tries", models.IntegerField()),
            ],
            options={"db_table": "autotask_incident", "default_permissions": ()},
        ),
    ]
