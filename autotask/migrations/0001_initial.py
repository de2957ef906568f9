"""The tables of autotask, with the storage parameters of a table that churns, and the view over both."""

from typing import Any

from django.db import migrations, models

# A live row is updated once or twice and deleted, thousands of times a second: vacuum has to come by number of dead rows,
# not by share, must not pause, and must clean the indexes each time, because claims read them from their dead end.
# The parameters are described in the PostgreSQL manual under CREATE TABLE, "Storage Parameters".
CHURNING = """
ALTER TABLE autotask_task SET (
    fillfactor = 85,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on
);
ALTER TABLE autotask_worker SET (fillfactor = 50);
"""

NOT_CHURNING = """
ALTER TABLE autotask_task RESET (
    fillfactor,
    autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold,
    autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold,
    autovacuum_analyze_scale_factor, autovacuum_analyze_threshold,
    autovacuum_vacuum_cost_delay, vacuum_index_cleanup
);
ALTER TABLE autotask_worker RESET (fillfactor);
"""

RECORD = """
CREATE VIEW autotask_record AS
SELECT id, state, queue, priority, name, arguments, created_at, run_at, started_at,
       NULL::timestamptz AS ended_at, NULL::timestamptz AS kept_until,
       attempt, failures, lost, retries, ttl, timeout, executor, worker_id, schedule, scheduled_for,
       at_most_once, progress_done, progress_total, expires_at,
       cancel_requested, ''::text AS error_message
FROM autotask_task
UNION ALL
SELECT id, state, queue, priority, name, arguments, created_at, run_at, started_at,
       ended_at, kept_until,
       attempt, failures, lost, retries, ttl, timeout, executor, worker_id, schedule, scheduled_for,
       at_most_once, progress_done, progress_total, NULL,
       false, error_message
FROM autotask_result
"""


class OnPostgreSQL(migrations.RunSQL):
    """SQL for PostgreSQL; nothing happens in the other databases that a project may migrate."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="TaskRecord",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("state", models.SmallIntegerField(verbose_name="state")),
                ("queue", models.TextField(verbose_name="queue")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                ("name", models.TextField(verbose_name="task")),
                ("arguments", models.TextField(verbose_name="arguments")),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("run_at", models.DateTimeField(verbose_name="due")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended")),
                ("kept_until", models.DateTimeField(null=True, verbose_name="kept until")),
                ("attempt", models.IntegerField(verbose_name="attempts")),
                ("failures", models.IntegerField(verbose_name="failures")),
                ("lost", models.IntegerField(verbose_name="lost")),
                ("retries", models.IntegerField(verbose_name="retries")),
                ("ttl", models.FloatField(verbose_name="time to live")),
                ("timeout", models.FloatField(null=True, verbose_name="time limit")),
                ("executor", models.TextField(verbose_name="executor")),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("at_most_once", models.BooleanField(verbose_name="at most once")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("cancel_requested", models.BooleanField(verbose_name="cancellation asked for")),
                ("error_message", models.TextField(verbose_name="error")),
            ],
            options={
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
                "db_table": "autotask_record",
                "permissions": [("retry_task", "Can retry tasks"), ("cancel_task", "Can cancel tasks")],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False, verbose_name="schedule")),
                ("task", models.TextField(verbose_name="task")),
                ("spec", models.TextField(verbose_name="when")),
                (
                    "former",
                    models.TextField(
                        db_default="",
                        help_text="The timetables that it had before, for workers whose code is older; one a line.",
                    ),
                ),
                ("registered_at", models.DateTimeField(verbose_name="registered")),
                ("last_tick", models.DateTimeField(null=True, verbose_name="last tick")),
                ("next_tick", models.DateTimeField(verbose_name="next tick")),
                (
                    "held",
                    models.TextField(
                        db_default="",
                        help_text="Ticks whose tasks wait for the end of an earlier one.",
                        verbose_name="held ticks",
                    ),
                ),
                (
                    "declared_at",
                    models.DateTimeField(
                        help_text="When a worker last said that its code has this schedule.", verbose_name="declared"
                    ),
                ),
                ("paused_at", models.DateTimeField(null=True, verbose_name="paused")),
                ("paused_by", models.TextField(db_default="", verbose_name="paused by")),
                (
                    "resumed_at",
                    models.DateTimeField(
                        help_text="Ticks from before this moment are not made up for.",
                        null=True,
                        verbose_name="resumed",
                    ),
                ),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "db_table": "autotask_schedule",
                "default_permissions": ("view",),
                "permissions": [
                    ("pause_schedule", "Can pause and resume schedules"),
                    ("run_schedule", "Can run schedules"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("kind", models.TextField(verbose_name="kind")),
                ("host", models.TextField(verbose_name="host")),
                ("boot_id", models.TextField()),
                ("pid", models.IntegerField(verbose_name="pid")),
                ("pid_started", models.BigIntegerField()),
                ("serves_pid", models.IntegerField(null=True, verbose_name="Django process")),
                (
                    "queues",
                    models.TextField(
                        db_default="", help_text="Comma-separated; empty means all.", verbose_name="queues"
                    ),
                ),
                ("threads", models.SmallIntegerField(verbose_name="threads")),
                ("executors", models.TextField(db_default="")),
                ("version", models.TextField(verbose_name="version")),
                ("stopping", models.BooleanField(db_default=False, verbose_name="stopping")),
                ("started_at", models.DateTimeField(verbose_name="started")),
                ("seen_at", models.DateTimeField(verbose_name="last seen")),
                ("lease_until", models.DateTimeField(verbose_name="lease until")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "db_table": "autotask_worker",
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("task_id", models.UUIDField()),
                ("number", models.IntegerField(verbose_name="attempt")),
                ("fence", models.BigIntegerField()),
                ("state", models.SmallIntegerField(verbose_name="outcome")),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("ended_at", models.DateTimeField(verbose_name="ended")),
                ("error_type", models.TextField(db_default="", verbose_name="exception")),
                ("error_message", models.TextField(db_default="", verbose_name="error")),
                ("traceback", models.TextField(db_default="", verbose_name="traceback")),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "db_table": "autotask_attempt",
                "default_permissions": (),
                "indexes": [models.Index(models.F("task_id"), name="autotask_attempt_task")],
            },
        ),
        migrations.CreateModel(
            name="Result",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("state", models.SmallIntegerField(verbose_name="state")),
                ("queue", models.TextField(verbose_name="queue")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                ("name", models.TextField(verbose_name="task")),
                (
                    "arguments",
                    models.TextField(help_text="As text, shortened, with secrets masked.", verbose_name="arguments"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("run_at", models.DateTimeField(verbose_name="due")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                (
                    "attempt",
                    models.IntegerField(db_default=0, help_text="Attempts started so far.", verbose_name="attempts"),
                ),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, help_text="Attempts that raised an exception.", verbose_name="failures"
                    ),
                ),
                (
                    "lost",
                    models.IntegerField(db_default=0, help_text="Attempts whose worker died.", verbose_name="lost"),
                ),
                ("retries", models.IntegerField(verbose_name="retries")),
                (
                    "ttl",
                    models.FloatField(
                        help_text="Seconds for which the result is kept at least.", verbose_name="time to live"
                    ),
                ),
                (
                    "timeout",
                    models.FloatField(
                        help_text="Seconds that one attempt may take.", null=True, verbose_name="time limit"
                    ),
                ),
                (
                    "executor",
                    models.TextField(
                        db_default="", help_text="Where it runs; empty means in a thread.", verbose_name="executor"
                    ),
                ),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
                ("fence", models.BigIntegerField(null=True)),
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("at_most_once", models.BooleanField(db_default=False, verbose_name="at most once")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                ("ended_at", models.DateTimeField(verbose_name="ended")),
                ("kept_until", models.DateTimeField(verbose_name="kept until")),
                ("payload", models.BinaryField(null=True)),
                ("value", models.BinaryField(null=True)),
                ("error_message", models.TextField(db_default="", verbose_name="error")),
            ],
            options={
                "verbose_name": "result",
                "verbose_name_plural": "results",
                "db_table": "autotask_result",
                "default_permissions": (),
                "indexes": [
                    models.Index(models.F("kept_until"), name="autotask_result_kept"),
                    models.Index(models.F("ended_at"), name="autotask_result_ended"),
                    models.Index(
                        models.F("state"),
                        models.F("id"),
                        condition=models.Q(("state__in", [4, 5])),
                        name="autotask_result_not_done",
                    ),
                    models.Index(
                        models.F("schedule"),
                        models.F("created_at"),
                        condition=models.Q(("schedule__isnull", False)),
                        name="autotask_result_of_schedule",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", [3, 4, 5])), name="autotask_result_is_ended"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("state", models.SmallIntegerField(verbose_name="state")),
                ("queue", models.TextField(verbose_name="queue")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                ("name", models.TextField(verbose_name="task")),
                (
                    "arguments",
                    models.TextField(help_text="As text, shortened, with secrets masked.", verbose_name="arguments"),
                ),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("run_at", models.DateTimeField(verbose_name="due")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                (
                    "attempt",
                    models.IntegerField(db_default=0, help_text="Attempts started so far.", verbose_name="attempts"),
                ),
                (
                    "failures",
                    models.IntegerField(
                        db_default=0, help_text="Attempts that raised an exception.", verbose_name="failures"
                    ),
                ),
                (
                    "lost",
                    models.IntegerField(db_default=0, help_text="Attempts whose worker died.", verbose_name="lost"),
                ),
                ("retries", models.IntegerField(verbose_name="retries")),
                (
                    "ttl",
                    models.FloatField(
                        help_text="Seconds for which the result is kept at least.", verbose_name="time to live"
                    ),
                ),
                (
                    "timeout",
                    models.FloatField(
                        help_text="Seconds that one attempt may take.", null=True, verbose_name="time limit"
                    ),
                ),
                (
                    "executor",
                    models.TextField(
                        db_default="", help_text="Where it runs; empty means in a thread.", verbose_name="executor"
                    ),
                ),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
                ("fence", models.BigIntegerField(null=True)),
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("at_most_once", models.BooleanField(db_default=False, verbose_name="at most once")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                ("ready_at", models.DateTimeField(null=True)),
                ("cancel_requested", models.BooleanField(db_default=False)),
                ("awaited", models.BooleanField(db_default=False)),
                ("unknown_since", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("payload", models.BinaryField()),
            ],
            options={
                "verbose_name": "live task",
                "verbose_name_plural": "live tasks",
                "db_table": "autotask_task",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        models.F("queue"),
                        models.F("priority"),
                        models.F("executor"),
                        models.F("ready_at"),
                        condition=models.Q(("state", 1)),
                        name="autotask_ready",
                    ),
                    models.Index(
                        models.F("queue"),
                        models.F("priority"),
                        models.F("executor"),
                        condition=models.Q(("lost__gt", 0), ("state", 1)),
                        name="autotask_suspect",
                    ),
                    models.Index(models.F("run_at"), condition=models.Q(("state", 0)), name="autotask_due"),
                    models.Index(models.F("worker_id"), condition=models.Q(("state", 2)), name="autotask_running"),
                    models.Index(
                        models.F("schedule"),
                        condition=models.Q(("schedule__isnull", False)),
                        name="autotask_of_schedule",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("state__in", [0, 1, 2])), name="autotask_task_is_live"),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("fence__isnull", False), ("state", 2), ("worker_id__isnull", False)),
                            models.Q(
                                models.Q(("state", 2), _negated=True),
                                ("fence__isnull", True),
                                ("worker_id__isnull", True),
                            ),
                            _connector="OR",
                        ),
                        name="autotask_running_is_claimed",
                    ),
                ],
            },
        ),
        OnPostgreSQL(CHURNING, NOT_CHURNING),
        OnPostgreSQL(
            "CREATE SEQUENCE autotask_fence OWNED BY autotask_task.fence",
            "DROP SEQUENCE autotask_fence",
        ),
        OnPostgreSQL(RECORD, "DROP VIEW autotask_record"),
    ]
