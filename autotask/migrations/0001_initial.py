"""The tables of autotask, with the storage parameters of tables that churn, and the views over them."""

from typing import Any

from django.db import migrations, models
from django.db.models.fields.json import KeyTextTransform

import autotask.models

# Rows that come and go thousands of times a second: vacuum has to come by number of dead rows, not by share, must not pause, and
# must clean the indexes each time, because claims read them from their dead end.
# The parameters are described in the PostgreSQL manual under CREATE TABLE, "Storage Parameters".
_CHURNING = """autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on"""

# * Tasks that wait for a moment or at a gate are updated.
# * The ids of a claim are never compressed, nor stored out of line.
# * The rows of the history are added in one order, and deleted at the other end; nothing is changed in place.
STORAGE = f"""
ALTER TABLE autotask_task SET (fillfactor = 85, {_CHURNING});
ALTER TABLE autotask_ready SET ({_CHURNING});
ALTER TABLE autotask_held SET ({_CHURNING});
ALTER TABLE autotask_claim SET (fillfactor = 50, {_CHURNING});
ALTER TABLE autotask_claim ALTER ids SET STORAGE PLAIN;
ALTER TABLE autotask_worker SET (fillfactor = 50);
ALTER TABLE autotask_slot SET (fillfactor = 50);
ALTER TABLE autotask_bucket SET (fillfactor = 50);
ALTER TABLE autotask_mark SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
    autovacuum_vacuum_cost_delay = 0, vacuum_index_cleanup = on
);
ALTER TABLE autotask_history SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 50000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);
"""

ONCE = "CREATE INDEX autotask_result_once ON autotask_result ((flow ->> 'unique')) WHERE flow ? 'once'"

RUNNING = """
CREATE VIEW autotask_running AS
SELECT u.id, c.worker_id, c.at, (c.number << 10) + u.place - 1 AS fence
FROM autotask_claim c CROSS JOIN LATERAL unnest(c.ids) WITH ORDINALITY AS u(id, place)
WHERE u.id IS NOT NULL
"""

_COLUMNS = """
SELECT t.id, CASE WHEN {runs} THEN 2::smallint ELSE t.state END AS state, t.queue, t.priority, t.name, t.arguments,
       t.created_at, t.run_at, CASE WHEN {runs} THEN {at} ELSE t.started_at END AS started_at,
       t.attempt + CASE WHEN {runs} THEN 1 ELSE 0 END AS attempt, t.failures, t.lost, t.retries, t.ttl, t.timeout,
       t.executor, CASE WHEN {runs} THEN {worker_id} END AS worker_id, CASE WHEN {runs} THEN {fence} END AS fence, t.schedule,
       t.scheduled_for, t.at_most_once, t.progress_done, t.progress_total,
       t.tags, t.flow, t.on_end, t.subject, t.metadata, t.ready_at, t.cancel_requested, t.awaited, t.unknown_since,
       t.expires_at, t.payload, t.unique_key, t.gate, t.passed{more}
FROM autotask_task t"""

_JOINED = {"runs": "r.id IS NOT NULL", "at": "r.at", "worker_id": "r.worker_id", "fence": "r.fence"}
LIVE = f"CREATE VIEW autotask_live AS {_COLUMNS.format(more='', **_JOINED)} LEFT JOIN autotask_running r ON r.id = t.id"

# Without a join, which would not keep the order of the primary key: the newest tasks of all tables are read from the ends.
_OF_CLAIM = "(SELECT {} FROM autotask_claim c WHERE t.id = ANY(c.ids) LIMIT 1)"
_LOOKED_UP = {
    "runs": "CASE WHEN t.state <> 0 THEN t.id IN (SELECT r.id FROM autotask_running r) ELSE false END",
    "at": _OF_CLAIM.format("c.at"),
    "worker_id": _OF_CLAIM.format("c.worker_id"),
    "fence": _OF_CLAIM.format("(c.number << 10) + array_position(c.ids, t.id) - 1"),
}

# All parts have just the same types, or the planner would not merge them by their primary keys.
RECORD = f"""
CREATE VIEW autotask_record AS
SELECT id, state, queue, priority, name, arguments, created_at, run_at, started_at,
       NULL::timestamptz AS ended_at, NULL::timestamptz AS kept_until,
       attempt, failures, lost, retries, ttl, timeout, executor, worker_id, schedule, scheduled_for,
       at_most_once, progress_done, progress_total, expires_at,
       cancel_requested, ''::text AS error_message, tags, flow, gate, on_end, subject, metadata, false AS expired, stored_state
FROM ({_COLUMNS.format(more=", t.state AS stored_state", **_LOOKED_UP)}) AS live
UNION ALL
SELECT id, state, queue, priority, name, arguments, created_at, run_at, started_at,
       ended_at, kept_until,
       attempt, failures, lost, retries, ttl, timeout, executor, worker_id, schedule, scheduled_for,
       at_most_once, progress_done, progress_total, NULL,
       false, error_message, tags, flow, NULL, on_end, subject, metadata, false AS expired, state
FROM autotask_result
UNION ALL
SELECT id, state, queue, priority, name, '', created_at, run_at, started_at,
       ended_at, gone_at,
       attempt, failures, lost, retries, 0::float8, NULL, '', NULL, schedule, NULL,
       false, NULL, NULL, NULL,
       false, error_message, tags, NULL, NULL, NULL, subject, NULL, true, state
FROM autotask_history
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
    """The tables. Of tasks and results, columns of a fixed width come first, the widest ones before: no byte is lost between them."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Dashboard",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
            ],
            options={
                "verbose_name": "dashboard",
                "verbose_name_plural": "dashboard",
                "managed": False,
                "default_permissions": ("view",),
                "base_manager_name": "objects",
            },
        ),
        migrations.CreateModel(
            name="LiveTask",
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
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("at_most_once", models.BooleanField(db_default=False, verbose_name="at most once")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                ("tags", autotask.models.NamesField(null=True, verbose_name="tags")),
                ("flow", models.JSONField(null=True, verbose_name="flow control")),
                (
                    "on_end",
                    models.TextField(
                        help_text="Recipients to notify of its end, as JSON.", null=True, verbose_name="notices"
                    ),
                ),
                (
                    "subject",
                    models.TextField(help_text="The object that it is about.", null=True, verbose_name="subject"),
                ),
                ("metadata", models.JSONField(null=True, verbose_name="metadata")),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
                ("fence", models.BigIntegerField(null=True)),
                ("ready_at", models.DateTimeField(null=True)),
                ("cancel_requested", models.BooleanField()),
                ("awaited", models.BooleanField()),
                ("unknown_since", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("payload", models.BinaryField()),
                ("unique_key", models.TextField(null=True, verbose_name="unique key")),
                ("gate", models.TextField(null=True, verbose_name="gate")),
                ("passed", models.SmallIntegerField(null=True)),
            ],
            options={
                "db_table": "autotask_live",
                "managed": False,
                "default_permissions": (),
            },
        ),
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
                ("tags", autotask.models.NamesField(null=True, verbose_name="tags")),
                ("flow", models.JSONField(null=True, verbose_name="flow control")),
                ("gate", models.TextField(null=True, verbose_name="gate")),
                ("on_end", models.TextField(null=True, verbose_name="notices")),
                ("subject", models.TextField(null=True, verbose_name="subject")),
                ("metadata", models.JSONField(null=True, verbose_name="metadata")),
                ("expired", models.BooleanField(verbose_name="result expired")),
                ("stored_state", models.SmallIntegerField()),
            ],
            options={
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
                "db_table": "autotask_record",
                "permissions": [
                    ("retry_task", "Can retry tasks"),
                    ("cancel_task", "Can cancel tasks"),
                    ("discard_task", "Can discard failed and cancelled tasks"),
                    ("run_task", "Can run scheduled tasks at once and change priorities"),
                    ("act_on_all_tasks", "Can act on all tasks that match a filter"),
                    ("submit_task", "Can submit tasks through the HTTP API"),
                ],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="BackgroundInstance",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "name", "place", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("name", models.TextField()),
                ("place", models.TextField(help_text="Empty for the site; otherwise names the host or the worker.")),
                ("worker_id", models.UUIDField(null=True)),
                ("fence", models.BigIntegerField()),
                ("start_id", models.UUIDField()),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("began_at", models.DateTimeField(null=True)),
                ("taken_at", models.DateTimeField()),
                ("runs", models.BigIntegerField(db_default=0)),
                ("errors", models.BigIntegerField(db_default=0)),
                ("last_run_at", models.DateTimeField(null=True)),
                ("last_error", models.TextField(db_default="")),
                ("last_error_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "autotask_background_instance",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="BackgroundWorker",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False, verbose_name="background worker")),
                ("kind", models.TextField(verbose_name="kind")),
                ("per", models.TextField(verbose_name="one per")),
                ("queue", models.TextField(verbose_name="queue")),
                ("wanted", models.BooleanField(verbose_name="to run")),
                (
                    "decided",
                    models.BooleanField(
                        db_default=False,
                        help_text="Whether somebody, or its function, has decided that, and not just the code.",
                    ),
                ),
                ("start_id", models.UUIDField(help_text="Identifies the last start.")),
                ("setup", models.BinaryField(help_text="The signed arguments of the last start.", null=True)),
                ("ended", models.TextField(db_default="", verbose_name="has stopped by itself")),
                (
                    "declared_at",
                    models.DateTimeField(
                        help_text="When a worker last said that its code has it.", verbose_name="declared"
                    ),
                ),
            ],
            options={
                "verbose_name": "background worker",
                "verbose_name_plural": "background workers",
                "db_table": "autotask_background",
                "permissions": [
                    ("start_backgroundworker", "Can start background workers"),
                    ("stop_backgroundworker", "Can stop background workers"),
                    ("trigger_backgroundworker", "Can trigger background workers"),
                ],
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Bucket",
            fields=[
                ("gate", models.TextField(primary_key=True, serialize=False)),
                ("full_at", models.DateTimeField()),
                ("closed_until", models.DateTimeField(null=True)),
                ("task_id", models.UUIDField(null=True)),
            ],
            options={
                "db_table": "autotask_bucket",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Claim",
            fields=[
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("worker_id", models.UUIDField()),
                ("at", models.DateTimeField()),
                ("ids", autotask.models.IdsField()),
            ],
            options={
                "db_table": "autotask_claim",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Incident",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("rule", models.TextField()),
                ("text", models.TextField()),
                ("facts", models.JSONField(null=True)),
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
            options={
                "db_table": "autotask_incident",
                "default_permissions": (),
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
                "permissions": [
                    ("pause_schedule", "Can pause and resume schedules"),
                    ("run_schedule", "Can run schedules"),
                ],
                "default_permissions": ("view",),
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
            options={
                "db_table": "autotask_slot",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Statistics",
            fields=[
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
            options={
                "db_table": "autotask_statistics",
                "default_permissions": (),
            },
        ),
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
                ("zone_data", models.TextField(db_default="", verbose_name="time zone data")),
                ("stopping", models.BooleanField(db_default=False, verbose_name="stopping")),
                ("line", models.TextField(db_default="")),
                ("idle", models.BooleanField(db_default=False)),
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
            name="ApiKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(verbose_name="name")),
                ("digest", models.TextField()),
                ("scopes", autotask.models.NamesField(verbose_name="scopes")),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("used_at", models.DateTimeField(null=True, verbose_name="last used")),
                ("revoked_at", models.DateTimeField(null=True, verbose_name="revoked")),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "db_table": "autotask_api_key",
                "permissions": [("issue_keys", "Can create and revoke API keys")],
                "default_permissions": ("view",),
                "constraints": [
                    models.UniqueConstraint(
                        models.F("name"), condition=models.Q(("revoked_at__isnull", True)), name="autotask_api_key_name"
                    )
                ],
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
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "caller", "key", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("caller", models.TextField()),
                ("key", models.TextField()),
                ("fingerprint", models.TextField()),
                ("task_id", models.UUIDField()),
                ("until", models.DateTimeField()),
            ],
            options={
                "db_table": "autotask_idempotency_key",
                "default_permissions": (),
                "indexes": [models.Index(models.F("until"), name="autotask_idempotency_until")],
            },
        ),
        migrations.CreateModel(
            name="LogPiece",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("first_id", models.UUIDField()),
                ("last_id", models.UUIDField()),
                ("at", models.DateTimeField()),
                ("text", models.TextField()),
            ],
            options={
                "db_table": "autotask_log",
                "default_permissions": (),
                "indexes": [
                    models.Index(models.F("first_id"), models.F("last_id"), name="autotask_log_of_tasks"),
                    models.Index(
                        models.F("first_id"),
                        models.F("last_id"),
                        name="autotask_log_shared",
                        condition=models.Q(first_id__lt=models.F("last_id")),
                    ),
                ],
            },
        ),
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
            name="PastTask",
            fields=[
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
                "permissions": [("pause_tasks", "Can pause and resume tasks")],
                "default_permissions": ("view",),
                "constraints": [models.UniqueConstraint(models.F("kind"), models.F("name"), name="autotask_pause_of")],
            },
        ),
        migrations.CreateModel(
            name="HeldTask",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gate",
                        "rank",
                        "run_at",
                        "id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("id", models.UUIDField()),
                ("run_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField(null=True)),
                ("rank", models.SmallIntegerField()),
                ("follows", models.BooleanField()),
                ("resets", models.BooleanField()),
                ("gate", models.TextField()),
                ("queue", models.TextField()),
            ],
            options={
                "db_table": "autotask_held",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        models.F("expires_at"),
                        condition=models.Q(("expires_at__isnull", False)),
                        name="autotask_expiring",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ReadyTask",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue",
                        "priority",
                        "executor",
                        "ready_at",
                        "id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("ready_at", models.DateTimeField()),
                ("id", models.UUIDField()),
                ("priority", models.SmallIntegerField()),
                ("suspect", models.BooleanField()),
                ("resets", models.BooleanField()),
                ("queue", models.TextField()),
                ("executor", models.TextField()),
            ],
            options={
                "db_table": "autotask_ready",
                "default_permissions": (),
                "indexes": [
                    models.Index(
                        models.F("queue"),
                        models.F("priority"),
                        models.F("executor"),
                        condition=models.Q(("suspect", True)),
                        name="autotask_suspect",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Result",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("run_at", models.DateTimeField(verbose_name="due")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("ended_at", models.DateTimeField(verbose_name="ended")),
                ("kept_until", models.DateTimeField(verbose_name="kept until")),
                (
                    "ttl",
                    models.FloatField(
                        help_text="Seconds for which the result is kept at least.", verbose_name="time to live"
                    ),
                ),
                ("fence", models.BigIntegerField(null=True)),
                ("worker_id", models.UUIDField(null=True, verbose_name="worker")),
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
                ("state", models.SmallIntegerField(verbose_name="state")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                ("at_most_once", models.BooleanField(db_default=False, verbose_name="at most once")),
                ("queue", models.TextField(verbose_name="queue")),
                ("name", models.TextField(verbose_name="task")),
                (
                    "executor",
                    models.TextField(
                        db_default="", help_text="Where it runs; empty means in a thread.", verbose_name="executor"
                    ),
                ),
                (
                    "arguments",
                    models.TextField(help_text="As text, shortened, with secrets masked.", verbose_name="arguments"),
                ),
                ("error_message", models.TextField(db_default="", verbose_name="error")),
                ("value", models.BinaryField(null=True)),
                ("payload", models.BinaryField(null=True)),
                (
                    "timeout",
                    models.FloatField(
                        help_text="Seconds that one attempt may take.", null=True, verbose_name="time limit"
                    ),
                ),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                (
                    "settled_at",
                    models.DateTimeField(
                        help_text="When all notices were sent, or given up.", null=True, verbose_name="settled"
                    ),
                ),
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("tags", autotask.models.NamesField(null=True, verbose_name="tags")),
                ("flow", models.JSONField(null=True, verbose_name="flow control")),
                (
                    "on_end",
                    models.TextField(
                        help_text="Recipients to notify of its end, as JSON.", null=True, verbose_name="notices"
                    ),
                ),
                (
                    "subject",
                    models.TextField(help_text="The object that it is about.", null=True, verbose_name="subject"),
                ),
                ("metadata", models.JSONField(null=True, verbose_name="metadata")),
                ("notices", models.JSONField(null=True, verbose_name="sent notices")),
            ],
            options={
                "verbose_name": "result",
                "verbose_name_plural": "results",
                "db_table": "autotask_result",
                "default_permissions": (),
                "indexes": [
                    models.Index(models.F("kept_until"), name="autotask_result_kept"),
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
                    models.Index(
                        models.F("ended_at"),
                        condition=models.Q(("on_end__isnull", False), ("settled_at__isnull", True)),
                        name="autotask_result_to_tell",
                    ),
                    models.Index(
                        models.F("subject"),
                        models.F("id"),
                        condition=models.Q(("subject__isnull", False)),
                        name="autotask_result_subject",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("state__in", [3, 4, 5])), name="autotask_result_is_ended"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Task",
            fields=[
                ("id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(verbose_name="created")),
                ("run_at", models.DateTimeField(verbose_name="due")),
                ("ready_at", models.DateTimeField(null=True)),
                (
                    "ttl",
                    models.FloatField(
                        help_text="Seconds for which the result is kept at least.", verbose_name="time to live"
                    ),
                ),
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
                ("state", models.SmallIntegerField(verbose_name="state")),
                ("priority", models.SmallIntegerField(verbose_name="priority")),
                ("at_most_once", models.BooleanField(db_default=False, verbose_name="at most once")),
                ("cancel_requested", models.BooleanField(db_default=False)),
                ("awaited", models.BooleanField(db_default=False)),
                ("queue", models.TextField(verbose_name="queue")),
                ("name", models.TextField(verbose_name="task")),
                (
                    "executor",
                    models.TextField(
                        db_default="", help_text="Where it runs; empty means in a thread.", verbose_name="executor"
                    ),
                ),
                (
                    "arguments",
                    models.TextField(help_text="As text, shortened, with secrets masked.", verbose_name="arguments"),
                ),
                ("payload", models.BinaryField()),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                (
                    "timeout",
                    models.FloatField(
                        help_text="Seconds that one attempt may take.", null=True, verbose_name="time limit"
                    ),
                ),
                ("scheduled_for", models.DateTimeField(null=True, verbose_name="tick")),
                ("progress_done", models.FloatField(null=True, verbose_name="done")),
                ("progress_total", models.FloatField(null=True, verbose_name="of")),
                ("unknown_since", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("passed", models.SmallIntegerField(null=True)),
                ("schedule", models.TextField(null=True, verbose_name="schedule")),
                ("tags", autotask.models.NamesField(null=True, verbose_name="tags")),
                ("flow", models.JSONField(null=True, verbose_name="flow control")),
                (
                    "on_end",
                    models.TextField(
                        help_text="Recipients to notify of its end, as JSON.", null=True, verbose_name="notices"
                    ),
                ),
                (
                    "subject",
                    models.TextField(help_text="The object that it is about.", null=True, verbose_name="subject"),
                ),
                ("metadata", models.JSONField(null=True, verbose_name="metadata")),
                ("unique_key", models.TextField(null=True, verbose_name="unique key")),
                ("gate", models.TextField(null=True, verbose_name="gate")),
            ],
            options={
                "verbose_name": "live task",
                "verbose_name_plural": "live tasks",
                "db_table": "autotask_task",
                "default_permissions": (),
                "indexes": [
                    models.Index(models.F("run_at"), condition=models.Q(("state", 0)), name="autotask_due"),
                    models.Index(
                        models.F("schedule"),
                        condition=models.Q(("schedule__isnull", False)),
                        name="autotask_of_schedule",
                    ),
                    models.Index(
                        models.F("name"),
                        models.OrderBy(models.F("priority"), descending=True),
                        models.F("run_at"),
                        models.F("id"),
                        condition=models.Q(("executor", "background"), ("state", 1)),
                        name="autotask_message",
                    ),
                    models.Index(
                        models.F("gate"),
                        models.F("id"),
                        condition=models.Q(("state", 8)),
                        name="autotask_at_gate",
                    ),
                    models.Index(
                        models.F("subject"),
                        models.F("id"),
                        condition=models.Q(("subject__isnull", False)),
                        name="autotask_subject",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("state__in", [0, 1, 8])), name="autotask_task_is_live"),
                    models.UniqueConstraint(
                        models.F("unique_key"),
                        condition=models.Q(("unique_key__isnull", False)),
                        name="autotask_unique",
                    ),
                ],
            },
        ),
        # In SQL, since not all databases could index it. Only PostgreSQL holds rows.
        migrations.SeparateDatabaseAndState(
            [OnPostgreSQL(ONCE, "DROP INDEX autotask_result_once")],
            [
                migrations.AddIndex(
                    "result",
                    models.Index(
                        KeyTextTransform("unique", "flow"),
                        condition=models.Q(("flow__has_key", "once")),
                        name="autotask_result_once",
                    ),
                ),
            ],
        ),
        OnPostgreSQL(STORAGE, migrations.RunSQL.noop),
        OnPostgreSQL("CREATE SEQUENCE autotask_fence OWNED BY autotask_claim.number", "DROP SEQUENCE autotask_fence"),
        OnPostgreSQL(RUNNING, "DROP VIEW autotask_running"),
        OnPostgreSQL(LIVE, "DROP VIEW autotask_live"),
        OnPostgreSQL(RECORD, "DROP VIEW autotask_record"),
    ]
