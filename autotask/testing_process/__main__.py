"""The worker process of a test: ``manage.py autotask`` with the given words; it does not outlive the test process."""

import importlib
import logging
import os
import signal
import sys

import django
from django.core.management import execute_from_command_line

from autotask.processes import life
from autotask.testing_process import MODULES

logger = logging.getLogger("autotask.testing")


def main() -> None:
    """Run the command; the process id of the test process comes first."""
    parent, *words = sys.argv[1:]
    # Whatever ends the test process, no worker is left to hold the test database open.
    life.die_with_parent(int(parent), signal.SIGTERM)
    life.ignore_interrupts()
    django.setup()
    for module in os.environ[MODULES].split(","):
        _import(module)
    execute_from_command_line(["manage.py", "autotask", *words])


def _import(module: str) -> None:
    """Have the tasks known that the test process knows, also those that tests have defined for themselves."""
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever it is, its tasks stay unknown, and the test that needs them says so
        logger.warning("The module %s with tasks cannot be imported here: %s: %s", module, type(error).__name__, error)


if __name__ == "__main__":
    main()
