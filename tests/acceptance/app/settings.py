"""The settings of the test project, with this app in place of the demo, and a database that the test has made.

These environment variables come from ``tests/acceptance/site.py``:

``ACCEPTANCE_DATABASE``
    the name of the database
``ACCEPTANCE_APPS``
    further apps, which a test has written
``ACCEPTANCE_SERVER_APPS``
    apps of a server, which come before all others
``ACCEPTANCE_STARTED``
    a file to which the process writes the command of each process that it starts
"""

import os
import sys

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, INSTALLED_APPS

DATABASES["default"]["NAME"] = os.environ["ACCEPTANCE_DATABASE"]
INSTALLED_APPS = [
    *os.environ["ACCEPTANCE_SERVER_APPS"].split(),
    *(app for app in INSTALLED_APPS if app != "demo"),
    "tests.acceptance.app",
    *os.environ["ACCEPTANCE_APPS"].split(),
]
_PULLED = "tests.acceptance.st2shop" in INSTALLED_APPS
ROOT_URLCONF = "tests.acceptance.st2shop.urls" if _PULLED else "tests.acceptance.app.urls"
STATIC_ROOT = "collected"


def _write_down(event: str, arguments: tuple[object, ...]) -> None:
    if event == "subprocess.Popen":
        with open(os.environ["ACCEPTANCE_STARTED"], "a", encoding="utf-8") as file:
            file.write(f"{arguments[1]}\n")


sys.addaudithook(_write_down)
