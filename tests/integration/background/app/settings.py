"""The settings of the test project, with this app in place of the demo."""

import json
import os

from testproject.settings import *  # noqa: F403
from testproject.settings import INSTALLED_APPS

INSTALLED_APPS = [*(app for app in INSTALLED_APPS if app != "demo"), "tests.integration.background.app"]

AUTOTASK_EXECUTORS = {"pool": "tests.integration.background.app.tasks.pool"}

for _name, _value in json.loads(os.environ.get("BACKGROUND_SETTINGS", "{}")).items():
    globals()[f"AUTOTASK_{_name}"] = _value
