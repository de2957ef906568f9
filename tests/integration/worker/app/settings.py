"""The settings of the test project, with this app in place of the demo."""

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "demo"), "tests.integration.worker.app"]

# For the tests of log files, whose workers are processes of their own.
AUTOTASK_LOG_DIR = os.environ.get("AUTOTASK_TEST_LOG_DIR") or None

# For the tests of crews: what happens to import this, and whether workers are forks.
AUTOTASK_MODULES = os.environ.get("AUTOTASK_TEST_MODULES", "").split()
if os.environ.get("AUTOTASK_TEST_FORK") == "false":
    AUTOTASK_FORK = False
