"""Durable steps: what each step of a task has returned."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0006_notices")]

    operations = [
        migrations.CreateModel(
            name="Step",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "task_id", "number", "name", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("task_id", models.UUIDField()),
                ("number", models.SmallIntegerField(verbose_name="number")),
                ("name", models.TextField(verbose_name="step")),
                ("value", models.BinaryField(null=True)),
                ("started_at", models.DateTimeField(verbose_name="started")),
                ("ended_at", models.DateTimeField(verbose_name="ended")),
            ],
            options={
                "verbose_name": "step",
                "verbose_name_plural": "steps",
                "db_table": "autotask_step",
                "default_permissions": (),
            },
        ),
    ]
