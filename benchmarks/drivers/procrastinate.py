"""Procrastinate: an asyncio worker on psycopg 3, notified by NOTIFY, which fetches and ends jobs one by one."""

import os

import procrastinate

from benchmarks import probe
from benchmarks.drivers.base import Driver

# The address comes from the PG* variables.
app = procrastinate.App(connector=procrastinate.PsycopgConnector())

_FUTURE = """
INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status, scheduled_at, attempts)
SELECT 'default', 'coroutine', 0, jsonb_build_object('number', n), 'todo', now() + interval '30 days', 0
FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""
# With the events of a job that a worker has run.
_ENDED = """
WITH job AS (
    INSERT INTO procrastinate_jobs (queue_name, task_name, priority, args, status, attempts)
    SELECT 'default', 'coroutine', 0, jsonb_build_object('number', n), 'succeeded', 0
    FROM generate_series(%(first)s::int, %(last)s::int) AS n
    RETURNING id
)
INSERT INTO procrastinate_events (job_id, type)
SELECT id, type FROM job, unnest('{started,succeeded}'::procrastinate_job_event_type[]) AS type
"""

#: Rows for one INSERT: its triggers keep each of them in memory until its end.
_AT_ONCE = 100_000


@app.task(name="coroutine")
async def coroutine(number: int) -> None:
    """Only record that it has begun."""
    probe.hit(number)


@app.task(name="function")
def function(number: int) -> None:
    """The same in a thread."""
    probe.hit(number)


class Procrastinate(Driver):
    """Procrastinate."""

    unfinished = """
        SELECT EXISTS (
            SELECT 1 FROM procrastinate_jobs
            WHERE status IN ('todo', 'doing') AND (scheduled_at IS NULL OR scheduled_at <= now())
        )
    """

    def set_up(self) -> None:
        with app.open():
            app.schema_manager.apply_schema()

    def connect(self) -> None:
        app.open()
        self._task = function if self.config == "functions" else coroutine

    def enqueue(self, number: int) -> object:
        return self._task.defer(number=number)

    def enqueue_many(self, count: int) -> None:
        self._task.batch_defer(*({"number": number} for number in range(count)))

    def worker_command(self) -> list[str]:
        concurrency = 1 if self.config == "default" else 10
        if self.config != "default":
            # By default it writes two lines for each job.
            os.environ["PROCRASTINATE_LOG_LEVEL"] = "warning"
        place = "--app=benchmarks.drivers.procrastinate.app"
        return ["-m", "procrastinate", place, "worker", f"--concurrency={concurrency}"]

    def prefill(self, kind: str, count: int) -> None:
        for first in range(0, count, _AT_ONCE):
            last = min(first + _AT_ONCE, count) - 1
            self.sql.execute(_FUTURE if kind == "future" else _ENDED, {"first": first, "last": last})


DRIVER = Procrastinate
