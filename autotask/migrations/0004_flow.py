"""Held tasks: the gates of a task, the slots, tokens and marks that let it pass, unique keys and pauses."""

from importlib import import_module

from django.db import migrations, models

initial = import_module("autotask.migrations.0001_initial")
tags = import_module("autotask.migrations.0003_tags")

RECORD = tags.RECORD.replace(
    "cancel_requested, ''::text AS error_message, tags", "cancel_requested, ''::text AS error_message, tags, flow, gate"
).replace("false, error_message, tags", "false, error_message, tags, flow, NULL")

# Rows of these tables are changed in place, or live for milliseconds.
CHURNING = """
ALTER TABLE autotask_slot SET (fillfactor = 50);
ALTER TABLE autotask_bucket SET (fillfactor = 50);
ALTER TABLE autotask_mark SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on
);
"""

_FLOW = models.JSONField(null=True, verbose_name="flow control")
_GATE = models.TextField(null=True, verbose_name="gate")


class Migration(migrations.Migration):
    dependencies = [("autotask", "0003_tags")]

    operations = [
        # The view first, as whoever reads it. Otherwise a page that waits for a table would hold up the view.
        initial.OnPostgreSQL("LOCK TABLE autotask_record", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="Mark",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("gate", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "autotask_mark",
                "default_permissions": (),
                "indexes": [models.Index(models.F("at"), name="autotask_mark_at")],
            },
        ),
        migrations.CreateModel(
            name="Slot",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gate", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("gate", models.TextField()),
                ("number", models.IntegerField()),
                ("task_id", models.UUIDField()),
                ("place", models.SmallIntegerField()),
                ("version", models.BigIntegerField()),
            ],
            options={"db_table": "autotask_slot", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Bucket",
            fields=[
                ("gate", models.TextField(primary_key=True, serialize=False)),
                ("full_at", models.DateTimeField()),
                ("closed_until", models.DateTimeField(null=True)),
                ("task_id", models.UUIDField(null=True)),
            ],
            options={"db_table": "autotask_bucket", "default_permissions": ()},
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("kind", models.TextField(verbose_name="kind")),
                ("name", models.TextField(db_default="", verbose_name="name")),
                ("paused_at", models.DateTimeField(verbose_name="paused")),
                ("paused_by", models.TextField(db_default="", verbose_name="paused by")),
                ("until", models.DateTimeField(null=True, verbose_name="until")),
                ("reason", models.TextField(db_default="", verbose_name="reason")),
            ],
            options={
                "verbose_name": "pause",
                "verbose_name_plural": "pauses",
                "db_table": "autotask_pause",
                "default_permissions": ("view",),
                "permissions": [("pause_tasks", "Can pause and resume tasks")],
                "constraints": [
                    models.UniqueConstraint(models.F("kind"), models.F("name"), name="autotask_pause_of"),
                ],
            },
        ),
        migrations.AddField("task", "flow", _FLOW.clone()),
        migrations.AddField("result", "flow", _FLOW.clone()),
        migrations.AddField("taskrecord", "flow", _FLOW.clone()),
        migrations.AddField("taskrecord", "gate", _GATE.clone()),
        migrations.AddField("task", "unique_key", models.TextField(null=True, verbose_name="unique key")),
        migrations.AddField("task", "gate", _GATE.clone()),
        migrations.AddField("task", "passed", models.SmallIntegerField(null=True)),
        migrations.RemoveConstraint("task", "autotask_task_is_live"),
        migrations.AddConstraint(
            "task",
            models.CheckConstraint(condition=models.Q(("state__in", [0, 1, 2, 8])), name="autotask_task_is_live"),
        ),
        migrations.AddConstraint(
            "task",
            models.UniqueConstraint(
                models.F("unique_key"),
                condition=models.Q(
                    ("unique_key__isnull", False),
                    models.Q(
                        models.Q(("state", 2), _negated=True),
                        models.Q(("unique_key__startswith", "waiting:"), _negated=True),
                        _connector="OR",
                    ),
                ),
                name="autotask_unique",
            ),
        ),
        migrations.AddIndex(
            "task",
            models.Index(
                models.F("gate"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("run_at"),
                models.F("id"),
                condition=models.Q(("state", 8)),
                name="autotask_held",
            ),
        ),
        initial.OnPostgreSQL(CHURNING, migrations.RunSQL.noop),
        initial.OnPostgreSQL(RECORD, f"DROP VIEW autotask_record; {tags.RECORD.replace('OR REPLACE ', '')}"),
    ]
