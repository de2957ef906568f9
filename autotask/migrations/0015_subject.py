"""Subjects and metadata of tasks: columns that take no room where a task has none, and indexes of tasks with a subject only.

The permission to discard tasks is new as well.
"""

from importlib import import_module

from django.db import migrations, models

initial = import_module("autotask.migrations.0001_initial")
notices = import_module("autotask.migrations.0006_notices")

# What is replaced keeps its grants, as long as columns are only added at its end.
RECORD = notices.RECORD.replace("gate, on_end", "gate, on_end, subject, metadata").replace(
    "NULL, on_end", "NULL, on_end, subject, metadata"
)


def _columns(model):
    about = "" if model == "taskrecord" else "The object that it is about."
    return [
        migrations.AddField(model, "subject", models.TextField(help_text=about, null=True, verbose_name="subject")),
        migrations.AddField(model, "metadata", models.JSONField(null=True, verbose_name="metadata")),
    ]


def _index(model, name):
    index = models.Index(models.F("subject"), models.F("id"), name=name, condition=models.Q(("subject__isnull", False)))
    return migrations.AddIndex(model, index)


class Migration(migrations.Migration):
    dependencies = [("autotask", "0014_logs")]

    operations = [
        # The view first, as whoever reads it. Otherwise a page that waits for a table would hold up the view.
        initial.OnPostgreSQL("LOCK TABLE autotask_record", migrations.RunSQL.noop),
        *_columns("task"),
        *_columns("result"),
        *_columns("taskrecord"),
        _index("task", "autotask_subject"),
        _index("result", "autotask_result_subject"),
        migrations.AlterModelOptions(
            name="taskrecord",
            options={
                "managed": False,
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
                "default_permissions": ("view",),
                "permissions": [
                    ("retry_task", "Can retry tasks"),
                    ("cancel_task", "Can cancel tasks"),
                    ("discard_task", "Can discard failed and cancelled tasks"),
                    ("run_task", "Can run scheduled tasks at once and change priorities"),
                    ("act_on_all_tasks", "Can act on all tasks that match a filter"),
                    ("submit_task", "Can submit tasks through the HTTP API"),
                ],
            },
        ),
        initial.OnPostgreSQL(RECORD, f"DROP VIEW autotask_record; {notices.RECORD.replace('OR REPLACE ', '')}"),
    ]
