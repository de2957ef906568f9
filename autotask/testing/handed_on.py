"""The state that a test process passes to a worker process that it starts: its current settings, and its tasks."""

import importlib
import os
import pickle
from collections.abc import Iterator
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE, global_settings, settings
from django.db import connections

from autotask import registry
from autotask.exceptions import NoSettingsModule
from autotask.processes import module_path
from autotask.testing_process import MODULES, ORIGINAL, VALUES


def environment(file: str) -> dict[str, str]:
    """Return the environment of a process that has the settings of this one, databases included, and knows its tasks.

    :param file: the path of a file to write the differences from the settings module to.
    :raises NoSettingsModule: no environment variable names the settings module.
    """
    if (module := os.environ.get(ENVIRONMENT_VARIABLE)) is None:
        raise NoSettingsModule
    values = {**dict(_changed(module)), "DATABASES": _databases()}
    # It may contain passwords; nobody else may read it.
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
        pickle.dump(values, opened)
    return {
        **os.environ,
        ORIGINAL: module,
        VALUES: file,
        MODULES: ",".join(sorted({definition.function.__module__ for definition in registry.definitions()})),
        ENVIRONMENT_VARIABLE: "autotask.testing_process.settings",
        "PYTHONPATH": os.pathsep.join(module_path.entries()),
    }


def _changed(module: str) -> Iterator[tuple[str, Any]]:
    """Yield the settings that the test, or its runner, has changed, if they can be pickled."""
    original = importlib.import_module(module)
    for name in dir(settings):
        if name.isupper() and name != "SETTINGS_MODULE":
            value = getattr(settings, name)
            # Including those that the project leaves to Django: test runners set the backend for mails.
            before = getattr(original, name, getattr(global_settings, name, None))
            if value != before and _can_be_pickled(value):
                yield name, value


def _can_be_pickled(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # whatever it raises, the value of the module has to do
        return False
    return True


def _databases() -> dict[str, Any]:
    # From the connections, not from the settings: processes of a parallel run use copies of the databases.
    return {
        alias: {name: value for name, value in connections[alias].settings_dict.items() if _can_be_pickled(value)}
        for alias in connections
    }
