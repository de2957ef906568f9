"""Tags of tasks: a column that takes no room where a task has none, and no index, as for queues and names."""

from importlib import import_module

from django.db import migrations

from autotask.models import NamesField

initial = import_module("autotask.migrations.0001_initial")

# What is replaced keeps its grants, as long as columns are only added at its end.
RECORD = initial.RECORD.replace("CREATE", "CREATE OR REPLACE").replace(
    "error_message\nFROM", "error_message, tags\nFROM"
)


class Migration(migrations.Migration):
    dependencies = [("autotask", "0002_worker_zone_data")]

    operations = [
        # The view first, as whoever reads it. Otherwise a page that waits for a table would hold up the view.
        initial.OnPostgreSQL("LOCK TABLE autotask_record", migrations.RunSQL.noop),
        migrations.AddField("task", "tags", NamesField(null=True, verbose_name="tags")),
        migrations.AddField("result", "tags", NamesField(null=True, verbose_name="tags")),
        migrations.AddField("taskrecord", "tags", NamesField(null=True, verbose_name="tags")),
        initial.OnPostgreSQL(RECORD, f"DROP VIEW autotask_record; {initial.RECORD}"),
    ]
