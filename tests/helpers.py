"""Helpers of all tests: waits for conditions, and processes that use the test database."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from tests import tether

T = TypeVar("T")

#: The other sessions in a database.
SESSIONS = """
SELECT pid, application_name, state, left(query, 200) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""

ROOT = Path(__file__).parents[1]

#: Whether to test with the numbers of a busy site, not with those that show the same in seconds.
LONG = bool(os.environ.get("AUTOTASK_TEST_LONG"))

#: The factor by which to wait longer than on a quiet machine.
PATIENCE = float(os.environ.get("AUTOTASK_TEST_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return the seconds to wait here for something that takes less than *seconds* on a quiet machine."""
    return seconds * PATIENCE


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a process that uses the test database."""
    parts = connection.settings_dict
    user = ":".join(quote(parts[key], safe="") for key in ("USER", "PASSWORD") if parts[key])
    place = f"host={quote(parts['HOST'], safe='')}&port={parts['PORT']}"
    url = f"postgres://{user}@/{quote(parts['NAME'])}?{place}"
    path = os.pathsep.join(map(str, (ROOT, ROOT / "testproject", os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "DATABASE_URL": url, "PYTHONPATH": path, **tether.environment(), **more}


def wait_until(condition: Callable[[], T], seconds: float = 20.0, what: str = "the condition") -> T:
    """Return the first true value of the condition.

    :param seconds: the most that it takes on a quiet machine.
    :raises AssertionError: it did not come true in time.
    """
    seconds = patient(seconds)
    deadline = (began := (looked := time.monotonic())) + seconds
    while not (value := condition()):
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s; last value: {value!r}")
        # Leave the machine to the processes that it waits for, the more the longer they and a look take, but miss no state
        # that lasts a second.
        time.sleep(min(0.25, max(0.02, 2 * (now - looked), (now - began) / 10)))
        looked = time.monotonic()
    return value


def wait_until_sessions_end(connection: BaseDatabaseWrapper, seconds: float = 10.0) -> list[Any]:
    """Wait until no other session uses the database of a connection, and end and return those that stay.

    Threads and processes close their connections a moment after the last test, and a server process may still be busy
    when its client is gone. PostgreSQL waits only five seconds before it refuses to drop the database.
    """
    others = []

    def are_gone() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(SESSIONS)
            others[:] = cursor.fetchall()
        return not others

    with contextlib.suppress(AssertionError):
        wait_until(are_gone, seconds)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [[pid for pid, *_ in others]])
    return others


def ended(handle: Any, seconds: float = 30.0) -> Any:
    """Wait for the end of a task, and return its status."""
    wait_until(lambda: handle.ready, seconds, f"the end of {handle}")
    return handle.status
