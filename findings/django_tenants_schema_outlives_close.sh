#!/bin/sh
# django-tenants 4.0.1: the schema of a connection after schema_context(), and after close().
#
# Belief: "with schema_context(name, database=alias)" leaves the connection of that alias as it was before, and a connection that
# was closed starts with the public schema again, so that CONN_MAX_AGE = 0 keeps requests (and tasks) apart.
# Seen: it leaves the schema of the *default* connection on that of the alias; and close() keeps the schema.
# Exits with 0 while this is so, and with 1 when it has changed. Needs no server: no statement is executed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "Django==5.2.8" "django-tenants==4.0.1" "psycopg[binary]==3.2.12"
cat > "$folder/see.py" <<'PYTHON'
import sys

import django
import django_tenants
from django.conf import settings

database = {"ENGINE": "django_tenants.postgresql_backend", "NAME": "nobody_connects", "CONN_MAX_AGE": 0}
settings.configure(
    DATABASES={"default": dict(database), "other": dict(database)},
    INSTALLED_APPS=["django.contrib.contenttypes"],
    DATABASE_ROUTERS=["django_tenants.routers.TenantSyncRouter"],
)
django.setup()

from importlib.metadata import version

from django.db import connections
from django_tenants.utils import schema_context

print("Django", django.__version__, "django-tenants", version("django-tenants"))

connections["default"].set_schema("of_default")
connections["other"].set_schema("of_other")
with schema_context("inside", database="other"):
    pass
after = connections["other"].schema_name
print(f'after schema_context(database="other"): believed "of_other", seen "{after}"')

connections["default"].set_schema("tenant")
connections["default"].close()
closed = connections["default"].schema_name
print(f'after close(): believed "public", seen "{closed}"')
sys.exit((after, closed) != ("of_default", "tenant"))
PYTHON
"$folder/venv/bin/python" "$folder/see.py"
