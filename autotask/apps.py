"""Django's way in: discover tasks, register checks, start the companion."""

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from autotask.companion import starter
from autotask.conf import settings


class AutotaskConfig(AppConfig):
    """The Django app."""

    name = "autotask"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the tasks of all installed apps, and give a process that serves its companion."""
        autodiscover_modules(settings.TASKS_MODULE)
        starter.start_if_serving()
