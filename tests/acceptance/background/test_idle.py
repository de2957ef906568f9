"""What background workers cost while nothing happens."""

import time

from django.db import connection

from autotask.background.workers import BackgroundWorker
from autotask.store.connection import rows
from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start

#: The sessions that there would not be without background workers, and when each began its last statement.
SESSIONS = """
SELECT pid, query_start FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('autotask caretaker', 'autotask background')
"""


def statements(seconds: float) -> int:
    """Return how many statements these sessions begin in a time."""
    seen = set(rows(connection, SESSIONS))
    before, until = len(seen), time.monotonic() + seconds
    while time.monotonic() < until:
        seen |= set(rows(connection, SESSIONS))
        time.sleep(0.01)
    return len(seen) - before


def test_idle_background_workers_ask_less_than_once_a_second(start: Start, lines: Lines) -> None:
    start(HEARTBEAT=5, LEASE=30)
    idle: list[BackgroundWorker] = [tasks.handle, tasks.sender, tasks.rebuild]
    for worker in idle:
        worker.start()
    wait_until(lambda: all(worker.is_started() for worker in idle))
    wait_until(lambda: statements(2) <= 1, what="the end of what a start takes")
    assert rows(connection, SESSIONS)
    assert statements(10) < 5
