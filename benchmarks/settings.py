"""Django settings of the benchmarks: as in production, on the server that the environment names, or else on an own one."""

from pathlib import Path

from autotask import embedded

SECRET_KEY = "benchmark"
DEBUG = False
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "autotask", "benchmarks"]
AUTOTASK_TASKS_MODULE = "functions"
DATABASES = {"default": embedded.database_from_environment(Path(__file__).parent / ".pgdata")}
DATABASES["default"]["CONN_MAX_AGE"] = None
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
