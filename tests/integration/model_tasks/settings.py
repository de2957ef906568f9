"""The settings of the test project, with the models of these tests."""

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "demo"), "tests.integration.model_tasks"]

AUTOTASK_MAX_CRASHES = 1000
