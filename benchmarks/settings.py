"""Django settings of the measured processes, as in production, on the database that the ``PG*`` variables name."""

import json
import os

from autotask.embedded import environment

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
DATABASES = {"default": {**(environment.database(os.environ) or {}), "CONN_MAX_AGE": None}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = ["django.contrib.contenttypes", "autotask", "benchmarks"]
AUTOTASK_TASKS_MODULE = "functions"

#: The environment variable that names a further module, which most measures do without.
MODULES = "BENCHMARK_MODULES"
AUTOTASK_MODULES = os.environ.get(MODULES, "").split()

#: The environment variable with the lines of tasks that are kept, as JSON.
LOGS = "BENCHMARK_LOGS"
AUTOTASK_LOGS = json.loads(os.environ.get(LOGS, "null"))
