"""How fast the pages of the dashboard are with millions of tasks: python -m benchmarks.dashboard --live 1000000.

It replaces all tasks in the database of the test project, which DEMO_PGDATA or DATABASE_URL names.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import viewers

FOLDER = Path(__file__).resolve().parent.parent

LIST = "/admin/autotask/taskrecord/"
PAGES = {
    "overview": "/admin/autotask/dashboard/",
    "overview, 7 days": "/admin/autotask/dashboard/?range=7d",
    "overview, refreshed": "/admin/autotask/dashboard/",
    "task types": "/admin/autotask/dashboard/types/",
    "errors": "/admin/autotask/dashboard/errors/",
    "tasks": LIST,
    "tasks, page 100": f"{LIST}?p=100",
    "tasks that wait": f"{LIST}?state=waiting",
    "tasks that are held": f"{LIST}?state=held",
    "tasks that failed": f"{LIST}?state=error",
    "tasks that are done": f"{LIST}?state=done",
    "tasks of a queue": f"{LIST}?queue=mail",
    "tasks of a name": f"{LIST}?q=mail.tasks.send_digest",
    "act on all": f"{LIST}all/?state=error",
    "workers": "/admin/autotask/worker/",
    "schedules": "/admin/autotask/schedule/",
}

SITES = {
    "connections that last": "benchmarks.served.dashboard",
    "a new connection for each request": "testproject.settings",
}

SCANS = """
SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_user_tables WHERE relname IN ('autotask_task', 'autotask_ready', 'autotask_result')
"""


def main() -> None:
    """Make the rows, and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", type=int, default=1_000_000)
    parser.add_argument("--ended", type=int, default=3_000_000)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--keep", action="store_true", help="use the rows of the last time")
    parser.add_argument("--viewers", type=int, default=20, help="open dashboards whose cost is measured, too (0: none)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long they are watched")
    options = parser.parse_args()
    _start_django()
    from benchmarks import rows_of_dashboard

    if not options.keep:
        rows_of_dashboard.make(options.live, options.ended)
    if options.requests:
        _show_pages(options.requests)
    if options.viewers:
        sessions, postmaster = _sessions(options.viewers), _backend().ppid()
        for text, settings in SITES.items():
            found = viewers.cost(PAGES["overview"], sessions, options.seconds, postmaster, settings)
            print(f"{options.viewers} open dashboards, {text}: {found}")


def _show_pages(requests: int) -> None:
    client = _client("benchmark")
    print(f"{'page':<24}{'least ms':>9}{'p50 ms':>9}{'p95 ms':>9}{'CPU ms':>9}{'queries':>9}{'sequential scans':>18}")
    for name, address in {**PAGES, **_pages_of_tasks()}.items():
        headers = {"X-Autotask-Live": "1"} if "refreshed" in name else {}
        times, cpu, queries, scans = _measured(client, address, headers, requests)
        p95 = statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]
        walls = f"{min(times):>9.1f}{statistics.median(times):>9.1f}{p95:>9.1f}"
        print(f"{name:<24}{walls}{cpu:>9.1f}{queries:>9}{scans:>18}", flush=True)


def _start_django() -> None:
    sys.path.insert(0, str(FOLDER / "testproject"))
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
    os.environ.setdefault("DEBUG", "false")
    os.environ.setdefault("AUTOTASK_COMPANION", "off")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def _client(name: str) -> Any:
    from django.contrib.auth.models import User
    from django.test import Client

    user = User.objects.filter(username=name).first() or User.objects.create_superuser(name)
    client = Client()
    client.force_login(user)
    return client


def _sessions(number: int) -> list[str]:
    return [str(_client(f"viewer{each}").cookies["sessionid"].value) for each in range(number)]


def _backend() -> psutil.Process:
    """Return the process of our connection to PostgreSQL, which has to run on this machine."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return psutil.Process(cursor.fetchone()[0])


def _cpu_seconds() -> float:
    times = _backend().cpu_times()
    return time.process_time() + times.user + times.system


def _pages_of_tasks() -> dict[str, str]:
    from autotask.models import Result, Task
    from autotask.store import causes
    from autotask.task import State

    waiting = Task.objects.filter(state=State.READY).order_by("queue", "priority", "executor", "ready_at")[0]
    failed = Result.objects.filter(state=State.ERROR).order_by("-id")[0]
    return {
        "a task that waits": f"{LIST}{waiting.id}/change/",
        "a task that failed": f"{LIST}{failed.id}/change/",
        "act on all of a cause": f"{LIST}all/?cause={causes.key(failed.name, failed.error_message)}",
    }


def _measured(client: Any, address: str, headers: dict[str, str], requests: int) -> tuple[list[float], float, int, int]:
    """Return milliseconds, those of CPU time of one request here and in PostgreSQL, its queries, and the sequential scans of
    the tables of tasks of all.
    """
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        assert client.get(address, headers=headers).status_code == 200, address
    queries = len(captured)  # the next request forgets them
    before, busy, times = _scans(), _cpu_seconds(), []
    for _ in range(requests):
        began = time.perf_counter()
        client.get(address, headers=headers)
        times.append((time.perf_counter() - began) * 1000)
    return times, (_cpu_seconds() - busy) * 1000 / requests, queries, _scans() - before


def _scans() -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(SCANS)
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
