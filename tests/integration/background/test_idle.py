"""What background workers cost while nothing happens, and what the planner makes of their statements."""

import time

from django.db import connection

from autotask.background.workers import BackgroundWorker
from autotask.store import background
from autotask.store.connection import rows
from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start

#: Of a session that waits for its client, by its role.
SESSIONS = """
SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'autotask %%'
"""


def commits() -> int:
    """Return how many transactions the database has committed."""
    connection.cursor().execute("SELECT pg_stat_clear_snapshot()")
    ((count,),) = rows(connection, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


def test_an_idle_site_with_background_workers_asks_less_than_once_a_second(start: Start, lines: Lines) -> None:
    program = start(HEARTBEAT=5, LEASE=30)
    idle: list[BackgroundWorker] = [tasks.handle, tasks.sender, tasks.rebuild]

    def per_second() -> float:
        time.sleep(3)  # statistics come a little later
        began, before = time.monotonic(), commits()
        time.sleep(10)
        return (commits() - before) / (time.monotonic() - began)

    without = per_second()
    for worker in idle:
        worker.start()
    wait_until(lambda: all(worker.is_started() for worker in idle))
    assert per_second() - without < 1
    assert not program.has_ended()


def test_the_next_messages_are_found_by_their_index(start: Start) -> None:
    for number in range(200):
        tasks.sender.put(number)
    from autotask.store import inbox

    connection.cursor().execute("ANALYZE autotask_task")
    sql = inbox.CLAIM.format(limit=8)
    params = {
        "plain": tasks.sender.name,
        "place": "",
        "fence": 1,
        "worker_id": "00000000-0000-0000-0000-000000000000",
        "name": background.PREFIX + tasks.sender.name,
    }
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "autotask_message" in plan, plan
    assert "Sort" not in plan, plan
