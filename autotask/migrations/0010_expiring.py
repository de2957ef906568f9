"""An index of held tasks that expire: of other tasks, none is in it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0009_background")]

    operations = [
        migrations.AddIndex(
            "task",
            models.Index(
                models.F("expires_at"),
                name="autotask_expiring",
                condition=models.Q(("expires_at__isnull", False), ("state", 8)),
            ),
        ),
    ]
