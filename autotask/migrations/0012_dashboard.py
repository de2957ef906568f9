"""The model of the dashboard, which has no table, and the permissions to run tasks at once and to act on many."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0011_statistics")]

    operations = [
        migrations.CreateModel(
            name="Dashboard",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"))
            ],
            options={
                "verbose_name": "dashboard",
                "verbose_name_plural": "dashboard",
                "managed": False,
                "base_manager_name": "objects",
                "default_permissions": ("view",),
            },
        ),
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
                    ("run_task", "Can run scheduled tasks at once and change priorities"),
                    ("act_on_all_tasks", "Can act on all tasks that match a filter"),
                    ("submit_task", "Can submit tasks through the HTTP API"),
                ],
            },
        ),
    ]
