"""The cost of a companion: while it is idle, and in memory after many tasks."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from django.db import connections

from benchmarks.drivers.autotask_companion import Companion
from benchmarks.drivers.base import Driver
from benchmarks.drivers.metrics import start_idle, wait_for
from benchmarks.sql import Connection

#: Seconds until an idle worker polls as rarely as it ever does.
CALM = 10.0

#: The statements of :func:`statements_of` that it counts: its query the first time, and the look at a setting the second time.
OF_COUNTING = 2

#: Tasks that are enqueued at once, and run before memory is first measured.
_AT_ONCE = 10_000

_BARE = "import django; django.setup(); print(flush=True); input()"


def idle(driver: Driver, ready: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Measure guard and worker of an idle companion.

    :param ready: waits for what else there is to be idle.
    """
    companion = start_idle(driver)
    assert isinstance(companion, Companion)
    ready()
    connections.close_all()
    time.sleep(CALM)
    with without_autovacuum(driver.sql):
        cpu, statements, began = companion.cpu_seconds(), statements_of(driver.sql), time.monotonic()
        time.sleep(driver.order.seconds)
        seconds = time.monotonic() - began
        statements = statements_of(driver.sql) - statements - OF_COUNTING
    bare = _bare_django()
    return {
        "statements_per_s": statements / seconds,
        "cpu_percent": 100 * (companion.cpu_seconds() - cpu) / seconds,
        "connections": driver.sql.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ),
        "guard_mb": megabytes(companion.guard),
        "worker_mb": megabytes(companion.worker),
        "django_mb": bare,
    }


def growth(driver: Driver) -> dict[str, Any]:
    """Measure how much the memory of a companion's worker grows while it runs many tasks."""
    companion = start_idle(driver)
    assert isinstance(companion, Companion)
    driver.reader.clear()
    sizes = []
    for done in range(0, driver.order.tasks, _AT_ONCE):
        driver.enqueue_many(_AT_ONCE)
        wait_for(driver.reader, done + _AT_ONCE, companion)
        while driver.sql.value(driver.unfinished):
            time.sleep(0.1)
        sizes.append(megabytes(companion.worker))
    return {"growth_mb": sizes[-1] - sizes[0], "tasks": _AT_ONCE * (len(sizes) - 1)}


def megabytes(process: psutil.Process) -> float:
    """Return the memory of a process: its own pages, and its share of common ones."""
    found = process.memory_full_info()
    return (getattr(found, "pss", 0) or found.uss) / 1e6


def _bare_django() -> float:
    """Return the memory of a process with the same settings that has only set Django up."""
    with subprocess.Popen([sys.executable, "-c", _BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        size = megabytes(psutil.Process(process.pid))
        process.stdin.close()
    return size


@contextlib.contextmanager
def without_autovacuum(connection: Connection) -> Iterator[None]:
    """Have autovacuum rest, if we may: about once a minute it makes a few transactions in each database, which would be counted."""
    if not connection.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        yield
        return
    connection.execute("ALTER SYSTEM SET autovacuum = off")
    connection.value("SELECT pg_reload_conf()")
    time.sleep(1)  # until a worker of it that runs has ended, and this is in the statistics
    try:
        yield
    finally:
        connection.execute("ALTER SYSTEM RESET autovacuum")
        connection.value("SELECT pg_reload_conf()")


def statements_of(connection: Connection) -> int:
    """Return how many statements this database has executed.

    Without the extension it counts transactions: a worker's statements are transactions of their own.
    """
    if "pg_stat_statements" not in connection.value("SHOW shared_preload_libraries"):
        return int(
            connection.value(
                "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
            )
        )
    connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return int(
        connection.value(
            "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
            "WHERE d.datname = current_database()"
        )
    )
