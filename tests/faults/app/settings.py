"""Settings of the processes of this suite.

These environment variables come from ``tests/faults/world.py``:

``FAULTS_DATABASE``
    the entry of ``DATABASES``, as JSON
``FAULTS_APPS``
    further apps
``AUTOTASK_…``
    the setting of the same name, as JSON
"""

import json
import os

from autotask.conf import Settings

SECRET_KEY = os.environ.get("FAULTS_SECRET_KEY", "of the fault suite")
SECRET_KEY_FALLBACKS = json.loads(os.environ.get("FAULTS_SECRET_KEY_FALLBACKS", "[]"))
DATABASES = {"default": json.loads(os.environ["FAULTS_DATABASE"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["autotask", "tests.faults.app", *os.environ.get("FAULTS_APPS", "").split()]
USE_TZ = True

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s autotask[%(process)d] %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"autotask": {"handlers": ["stderr"], "level": "INFO"}},
}

for _setting in Settings():
    if _setting.name in os.environ:
        globals()[_setting.name] = json.loads(os.environ[_setting.name])
