"""What is kept of tasks after their results are gone, and the view with it."""

from importlib import import_module

from django.db import migrations, models

import autotask.models

initial = import_module("autotask.migrations.0001_initial")
subject = import_module("autotask.migrations.0015_subject")

# What is replaced keeps its grants, as long as columns are only added at its end. All parts have just the same types, or the
# planner would not merge them by their primary keys.
RECORD = (
    subject.RECORD.replace("subject, metadata", "subject, metadata, false AS expired")
    + """UNION ALL
SELECT id, state, queue, priority, name, '', created_at, run_at, started_at,
       ended_at, gone_at,
       attempt, failures, lost, retries, 0::float8, NULL, '', NULL, schedule, NULL,
       false, NULL, NULL, NULL,
       false, error_message, tags, NULL, NULL, NULL, subject, NULL, true
FROM autotask_history
"""
)

# Rows are added in one order, and deleted at the other end; nothing is changed in place.
CHURNING = """
ALTER TABLE autotask_history SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);
"""


class Migration(migrations.Migration):
    dependencies = [("autotask", "0017_incidents")]

    operations = [
        migrations.CreateModel(
            "PastTask",
            [
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("state", models.SmallIntegerField()),
                ("queue", models.TextField()),
                ("priority", models.SmallIntegerField()),
                ("name", models.TextField()),
                ("created_at", models.DateTimeField()),
                ("run_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField()),
                ("gone_at", models.DateTimeField()),
                ("attempt", models.IntegerField()),
                ("failures", models.IntegerField()),
                ("lost", models.IntegerField()),
                ("retries", models.IntegerField()),
                ("schedule", models.TextField(null=True)),
                ("tags", autotask.models.NamesField(null=True)),
                ("subject", models.TextField(null=True)),
                ("error_message", models.TextField(db_default="")),
            ],
            options={
                "db_table": "autotask_history",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        models.F("state"),
                        models.F("id"),
                        condition=models.Q(("state__in", [4, 5])),
                        name="autotask_history_not_done",
                    ),
                    models.Index(
                        models.F("subject"),
                        models.F("id"),
                        condition=models.Q(("subject__isnull", False)),
                        name="autotask_history_subject",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", [3, 4, 5])), name="autotask_history_is_ended"
                    )
                ],
            },
        ),
        initial.OnPostgreSQL(CHURNING, migrations.RunSQL.noop),
        # The view first, as whoever reads it. Otherwise a page that waits for a table would hold up the view.
        initial.OnPostgreSQL("LOCK TABLE autotask_record", migrations.RunSQL.noop),
        migrations.AddField(
            "taskrecord",
            "expired",
            models.BooleanField(default=False, verbose_name="result expired"),
            preserve_default=False,
        ),
        initial.OnPostgreSQL(RECORD, f"DROP VIEW autotask_record; {subject.RECORD.replace('OR REPLACE ', '')}"),
    ]
