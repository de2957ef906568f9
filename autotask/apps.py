"""Django's way in: discover tasks, register checks, start the companion."""

import logging

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from autotask import checks
from autotask.companion import starter
from autotask.conf import Settings, settings
from autotask.exceptions import InvalidSetting

logger = logging.getLogger("autotask")


class AutotaskConfig(AppConfig):
    """The Django app."""

    name = "autotask"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, import the tasks of all installed apps, give a process that serves its companion."""
        checks.register_all()
        autodiscover_modules(_tasks_module())
        starter.start_if_serving()


def _tasks_module() -> str:
    # An exception here would keep Django from starting, and "manage.py check" from telling what is wrong.
    try:
        return settings.TASKS_MODULE
    except InvalidSetting as error:
        logger.error("%s It is taken to be %r.", error, Settings.TASKS_MODULE.default)
        return Settings.TASKS_MODULE.default
