"""The settings of the test project, with this app in place of the demo."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "demo"), "tests.integration.worker.app"]
