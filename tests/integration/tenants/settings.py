"""The settings of the test project with django-tenants, on the database that TENANTS_DATABASE names."""

import os

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES

DATABASES["default"] |= {"ENGINE": "django_tenants.postgresql_backend", "NAME": os.environ["TENANTS_DATABASE"]}
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("TENANTS_CONN_MAX_AGE", "0"))
DATABASE_ROUTERS = ("django_tenants.routers.TenantSyncRouter",)
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "django.contrib.auth", "autotask"]
TENANT_APPS = ["django.contrib.contenttypes", "tests.integration.tenants"]
INSTALLED_APPS = [*SHARED_APPS, "tests.integration.tenants"]
TENANT_MODEL, TENANT_DOMAIN_MODEL = "tenants.Client", "tenants.Domain"
MIDDLEWARE: list[str] = []
TEMPLATES: list[object] = []
