"""The settings of the test project, with mail through the server on a port, and tasks whose ends are told."""

import os

from testproject.settings import *  # noqa: F403
from tests.integration.notifications.post_office import settings_for

for _name in ("MAILERS", "EMAIL_BACKEND", "EMAIL_FILE_PATH"):
    globals().pop(_name, None)
globals().update(settings_for(int(os.environ["MAIL_PORT"])))

AUTOTASK_MODULES = ["tests.integration.notifications.tasks"]
