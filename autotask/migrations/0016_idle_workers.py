"""Whether a worker was idle at its last sign of life: then it is enough to tell one of them of a task."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0015_subject")]

    operations = [
        migrations.AddField("worker", "idle", models.BooleanField(db_default=False)),
    ]
