from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("autotask", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="zone_data",
            field=models.TextField(db_default="", verbose_name="time zone data"),
        ),
    ]
