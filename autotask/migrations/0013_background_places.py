"""Background workers: whether somebody has decided that one runs, or the code; and triggers for each host or process."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0012_dashboard")]

    operations = [
        migrations.AddField(
            "backgroundworker",
            "decided",
            models.BooleanField(
                db_default=False,
                help_text="Whether somebody, or its function, has decided that, and not just the code.",
            ),
        ),
        migrations.CreateModel(
            name="BackgroundTrigger",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("place", models.TextField()),
                ("created_at", models.DateTimeField()),
            ],
            options={
                "db_table": "autotask_background_trigger",
                "default_permissions": (),
                "indexes": [models.Index(fields=["name", "place"], name="autotask_trigger_place")],
            },
        ),
        # Nobody knows who has stopped them.
        migrations.RunSQL(
            "UPDATE autotask_background SET decided = NOT wanted OR setup IS NOT NULL", migrations.RunSQL.noop
        ),
    ]
