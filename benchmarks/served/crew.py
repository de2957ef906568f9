"""The settings of a site with the admin, for workers under one supervisor."""

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import INSTALLED_APPS

INSTALLED_APPS = [
    *("django.contrib.admin", "django.contrib.auth", "django.contrib.messages", "django.contrib.sessions"),
    *INSTALLED_APPS,
]
ROOT_URLCONF = "benchmarks.served.admin_urls"

#: The environment variable that is set if workers are not to be forks.
APART = "BENCHMARK_APART"
AUTOTASK_FORK = False if APART in os.environ else "auto"
