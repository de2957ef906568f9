"""The settings of the site: those of the other measured processes, without a companion in the way of the requests."""

from benchmarks.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.served.urls"
ALLOWED_HOSTS = ["127.0.0.1"]
AUTOTASK_COMPANION = "off"
AUTOTASK_API_TASKS = ["benchmarks.functions.nothing"]
AUTOTASK_API_WAIT = 600
LOGGING_CONFIG = None
