"""Notices of the end of a task: whom to tell, what was sent, and the results about which somebody is still to be told."""

from importlib import import_module

from django.db import migrations, models

initial = import_module("autotask.migrations.0001_initial")
flow = import_module("autotask.migrations.0004_flow")

RECORD = flow.RECORD.replace("tags, flow, gate", "tags, flow, gate, on_end").replace(
    "tags, flow, NULL", "tags, flow, NULL, on_end"
)

_ON_END = models.TextField(help_text="Whom to tell of its end, as JSON.", null=True, verbose_name="notices")


class Migration(migrations.Migration):
    dependencies = [("autotask", "0005_api_keys")]

    operations = [
        # The view first, as whoever reads it. Otherwise a page that waits for a table would hold up the view.
        initial.OnPostgreSQL("LOCK TABLE autotask_record", migrations.RunSQL.noop),
        migrations.AddField("task", "on_end", _ON_END.clone()),
        migrations.AddField("result", "on_end", _ON_END.clone()),
        migrations.AddField("taskrecord", "on_end", models.TextField(null=True, verbose_name="notices")),
        migrations.AddField("result", "notices", models.JSONField(null=True, verbose_name="sent notices")),
        migrations.AddField(
            "result",
            "settled_at",
            models.DateTimeField(
                help_text="When all notices were sent, or given up.", null=True, verbose_name="settled"
            ),
        ),
        migrations.AddIndex(
            "result",
            models.Index(
                models.F("ended_at"),
                condition=models.Q(("on_end__isnull", False), ("settled_at__isnull", True)),
                name="autotask_result_to_tell",
            ),
        ),
        initial.OnPostgreSQL(RECORD, f"DROP VIEW autotask_record; {flow.RECORD.replace('OR REPLACE ', '')}"),
    ]
