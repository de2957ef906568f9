"""The index of finished tasks by their key, for tasks of which there is one for each key, ever."""

from importlib import import_module

from django.db import migrations, models
from django.db.models.fields.json import KeyTextTransform

initial = import_module("autotask.migrations.0001_initial")

INDEX = "CREATE INDEX autotask_result_once ON autotask_result ((flow ->> 'unique')) WHERE flow ? 'once'"


class Migration(migrations.Migration):
    # The numbers were given out before it was known which of them is ready first.
    dependencies = [("autotask", "0007_steps")]

    operations = [
        # In SQL, since not all databases could index it. Only PostgreSQL holds rows.
        migrations.SeparateDatabaseAndState(
            [initial.OnPostgreSQL(INDEX, "DROP INDEX autotask_result_once")],
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
    ]
