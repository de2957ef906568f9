"""The table of notes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("topic", models.TextField(db_index=True)),
                ("text", models.TextField()),
                ("pid", models.IntegerField()),
                ("written_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
