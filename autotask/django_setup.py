"""Sets Django up in a new process in the same way as in the process that started it."""

import os
import sys
from typing import Any

import django
from django.apps import apps
from django.conf import ENVIRONMENT_VARIABLE, Settings, UserSettingsHolder, settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from autotask.conf import settings

#: The environment variable that names the function that sets Django up in a new process.
VARIABLE = "AUTOTASK_SETUP_FUNCTION"

ADVICE = (
    "the settings of this process come from settings.configure(), which a new process cannot repeat. Set AUTOTASK_SETUP to "
    "the dotted path of a function that calls settings.configure(…), in a module that can be imported without doing it"
)


def function() -> str:
    """Return the dotted path of the function that sets Django up as in this process; empty for ``django.setup``."""
    # Classes of django-configurations are settings only where its importer is installed.
    return settings.SETUP or ("configurations.setup" if uses_configurations() else "")


def uses_configurations() -> bool:
    """Whether this process was set up by django-configurations."""
    importer: Any = sys.modules.get("configurations.importer")
    return bool(importer is not None and importer.installed)


def handed_on() -> dict[str, str]:
    """Return the environment variables with which a new process sets Django up in the same way."""
    return {VARIABLE: function()}


def cannot_be_repeated() -> bool:
    """Whether a new process has no way to get the settings of this one."""
    if function() or os.environ.get(ENVIRONMENT_VARIABLE):
        return False
    holder: Any = object.__getattribute__(django_settings, "_wrapped")
    while isinstance(holder, UserSettingsHolder):  # also made by override_settings()
        holder = holder.default_settings
    return not isinstance(holder, Settings)


def set_up(path: str, module: str = "") -> None:
    """Set Django up, unless it is.

    :param path: the result of :func:`function` in the process that started this one.
    :param module: the settings module, if the environment of this process may not name it.
    :raises ImproperlyConfigured: the function cannot be imported, or no settings are known.
    """
    if module:
        os.environ.setdefault(ENVIRONMENT_VARIABLE, module)
    if path and not apps.ready:
        _imported(path)()
    if not apps.ready:
        django.setup()


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"AUTOTASK_SETUP is {path!r}, which cannot be imported: {error}") from error
