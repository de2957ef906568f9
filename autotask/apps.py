"""The Django app: it discovers tasks, registers checks and starts the companion."""

import contextlib
import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db.models.signals import post_migrate
from django.utils.module_loading import autodiscover_modules, import_string
from django.utils.translation import gettext_lazy as _

from autotask import checks, completion, telemetry
from autotask.checks import about_settings
from autotask.companion import starter
from autotask.conf import Settings, settings
from autotask.exceptions import InvalidSetting
from autotask.signals import tasks_to_run_now
from autotask.store.enqueue import NewTask
from autotask.texts import loggers

logger = logging.getLogger("autotask")


class AutotaskConfig(AppConfig):
    """The Django app."""

    name = "autotask"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, import the tasks of all installed apps, start the companion of a serving process."""
        loggers.keep_lines()
        checks.register_all()
        _import_task_backends()
        post_migrate.connect(completion.complete, sender=self)
        telemetry.start()
        setting_changed.connect(telemetry.restart)
        autodiscover_modules(_tasks_module())
        _import_named_modules()
        starter.start_if_serving()
        tasks_to_run_now.connect(_run_now)


def _run_now(tasks: Sequence[NewTask], **_: Any) -> None:
    # Imported here: serving processes do not need the testing tools.
    from autotask.testing.immediate import run

    run(tasks)


def _import_task_backends() -> None:
    """Import the backends in Django's TASKS: they make the kinds of definitions known with which workers find tasks."""
    for entry in getattr(django_settings, "TASKS", {}).values():
        path = entry.get("BACKEND", "")
        # Django's own have none. Django reports backends that cannot be imported when they are used.
        if not path.startswith(("django.", "django_tasks.")):
            with contextlib.suppress(ImportError):
                import_string(path)


def _import_named_modules() -> None:
    for name in _named_modules():
        if about_settings.is_module(name):
            import_module(name)
        else:
            logger.error("AUTOTASK_MODULES has %r, but there is no such module: its tasks are not known.", name)


def _named_modules() -> Sequence[str]:
    try:
        return settings.MODULES
    except InvalidSetting as error:
        logger.error("%s Its modules are not imported.", error)
        return ()


def _tasks_module() -> str:
    # An exception here would keep Django from starting, and "manage.py check" from reporting the problem.
    try:
        return settings.TASKS_MODULE
    except InvalidSetting as error:
        logger.error("%s Using %r instead.", error, Settings.TASKS_MODULE.default)
        return Settings.TASKS_MODULE.default
