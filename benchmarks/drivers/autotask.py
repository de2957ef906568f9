"""autotask, through its public API."""

import asyncio
import os
import sys
import time

import django
from django.core.management import call_command
from django.db import connection
from django.utils.module_loading import import_string

from autotask.task import DEFAULT_QUEUE, State
from benchmarks.drivers import (
    autotask_background,
    autotask_bare,
    autotask_claim,
    autotask_crew,
    autotask_crowd,
    autotask_family,
    autotask_flow,
    autotask_http,
    autotask_idle,
    autotask_light,
    autotask_schema,
)
from benchmarks.drivers.autotask_companion import Companion
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers
from benchmarks.settings import LOGS

#: An id for row n that is made now, as those of calls are: they grow with time (UUID version 7).
_ID = """
(lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
 || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid"""

#: These copy a task that the public API has stored into many rows, and change only the columns that have to differ.
_FUTURE = f"""
INSERT INTO autotask_task ({{columns}})
SELECT {_ID}, 0, now() + interval '30 days' + n * interval '1 ms', NULL, {{others}}
FROM generate_series(1, %(count)s::int) AS n, (SELECT * FROM autotask_task WHERE id = %(id)s) AS t
"""
_ENDED = f"""
INSERT INTO autotask_result ({{columns}})
SELECT {_ID}, now() - n * interval '1 ms', now() + interval '1 day' - n * interval '1 ms', {{others}}
FROM generate_series(1, %(count)s::int) AS n, (SELECT * FROM autotask_result WHERE id = %(id)s) AS t
"""

_HELD = f"""
INSERT INTO autotask_task ({{columns}})
SELECT {_ID}, run_at + n * interval '1 us', {{others}}
FROM generate_series(1, %(count)s::int) AS n, (SELECT * FROM autotask_task WHERE id = %(id)s) AS t
"""

#: The rows in the held table of these copies.
_HELD_ROWS = """
INSERT INTO autotask_held (gate, rank, run_at, id, queue, follows, resets)
SELECT h.gate, h.rank, t.run_at, t.id, h.queue, h.follows, h.resets FROM autotask_held h JOIN autotask_task t USING (gate)
WHERE h.id = %(id)s AND t.state = 8 AND t.id <> h.id
"""

#: This moves rows to a table of the same form, for as many bytes in the same database. Rewritten, the other table has no room left
#: by them, over which the tasks to drain would be spread.
_ASIDE = """
CREATE TABLE aside_{table} (LIKE {table} INCLUDING ALL);
INSERT INTO aside_{table} SELECT * FROM {table} WHERE {condition};
DELETE FROM {table} WHERE {condition}"""

#: Where the rows of each kind are.
_ROWS_OF = {
    "future": {"autotask_task": f"state = {State.SCHEDULED:d}"},
    "ended": {"autotask_result": "true"},
    "held": {"autotask_task": f"state = {State.HELD:d}", "autotask_held": "true"},
}

#: The queue of the task whose result is copied, and of the task that has the only slot of a limit.
_PREFILL = "prefill"

#: The keys of tasks that are limited by key.
ACCOUNTS = 1_000

#: A queue without tasks: its worker does everything but run tasks.
_NOWHERE = "nowhere"


class Autotask(Driver):
    """autotask."""

    unfinished = f"""
        SELECT EXISTS (SELECT 1 FROM autotask_ready WHERE queue <> '{_PREFILL}')
            OR EXISTS (SELECT 1 FROM autotask_claim)
    """

    own_metrics = {
        "enqueue_beside_insert": autotask_bare.enqueue_beside_insert,
        "bulk_beside_copy": autotask_bare.bulk_beside_copy,
        "claim_buffers": autotask_claim.claim_buffers,
        "crew": autotask_crew.crew,
        "family": autotask_family.family,
        "crowd": autotask_crowd.crowd,
        "light": autotask_light.light,
        "idle": autotask_idle.idle,
        "growth": autotask_idle.growth,
        "unique_beside_plain": autotask_flow.unique_beside_plain,
        "shared_rate": autotask_flow.shared_rate,
        "empty_bucket": autotask_flow.empty_bucket,
        "http_post": autotask_http.http_post,
        "http_wait": autotask_http.http_wait,
        "http_held": autotask_http.http_held,
        "put_beside_call": autotask_background.put_beside_call,
        "puts_beside_insert": autotask_background.puts_beside_insert,
        "interval_beside_tasks": autotask_background.interval_beside_tasks,
        "idle_background": autotask_background.idle_background,
        "schema_check": autotask_schema.schema_check,
    }

    def set_up(self) -> None:
        django.setup()
        call_command("migrate", verbosity=0)

    def connect(self) -> None:
        django.setup()
        connection.ensure_connection()  # The drivers of other queues connect here, too.
        # Django has to be set up before tasks are defined.
        self._runner = asyncio.Runner()
        self.task = import_string(f"benchmarks.functions.{self.order.function}")

    def enqueue(self, number: int) -> object:
        return self.task(*self._arguments(number))

    def enqueue_many(self, count: int) -> None:
        self.task.enqueue_many([self._arguments(number) for number in range(count)])

    def round_trip(self, number: int) -> None:
        if self.config == "await":
            # One event loop for all, as a server has for all requests.
            self._runner.run(self._round_trip(number))
        else:
            self.task(number).wait(timeout=30)

    async def _round_trip(self, number: int) -> None:
        handle = await self.task.aenqueue(number)
        await handle.await_result(timeout=30)

    def worker_command(self) -> list[str]:
        threads = ["--threads", str(self.order.threads)] if self.order.threads else []
        # The task that has the slot must not begin.
        queues = ["--queues", DEFAULT_QUEUE] if self.order.prefill.startswith("held") else []
        return ["-m", "django", "autotask", "worker", *threads, *queues]

    def start_workers(self, count: int) -> Workers:
        if self.config == "logs":
            os.environ[LOGS] = "{}"
        return super().start_workers(count) if self.config in ("default", "logs") else Companion()

    def prefill(self, kind: str, count: int) -> None:
        prefills = {
            "future": self._prefill_future,
            "ended": self._prefill_ended,
            "held": self._prefill_held,
        }
        made, _, aside = kind.partition("_")
        prefills[made](count)
        if aside:
            for table, condition in _ROWS_OF[made].items():
                self._aside(table, condition)

    def _prefill_future(self, count: int) -> None:
        id = str(self.task(0).id)
        self._clone("autotask_task", id, ("id", "state", "run_at", "ready_at"), _FUTURE, count)
        for table in ("autotask_ready", "autotask_task"):
            self.sql.execute(f"DELETE FROM {table} WHERE id = %(id)s", {"id": id})

    def _prefill_ended(self, count: int) -> None:
        # In its own queue: tasks to drain may already wait.
        handle = self.task.using(queue=_PREFILL)(0)
        worker = self._worker_of(_PREFILL)
        handle.wait(timeout=30)
        worker.stop()
        self._clone("autotask_result", str(handle.id), ("id", "ended_at", "kept_until"), _ENDED, count)

    def _prefill_held(self, count: int) -> None:
        """Have one task keep the only slot of a limit, in a queue that nobody works, and the others wait behind it."""
        limited = import_string("benchmarks.functions.one_at_once")
        holder = {"id": str(limited.using(queue=_PREFILL)(-1).id)}
        worker = self._worker_of(_NOWHERE)
        while self.sql.value("SELECT state FROM autotask_task WHERE id = %(id)s", holder) != State.READY:
            worker.check()
            time.sleep(0.1)
        worker.stop()
        if count:
            first = str(limited(-1).id)
            self._clone("autotask_task", first, ("id", "run_at"), _HELD, count - 1)
            self.sql.execute(_HELD_ROWS, {"id": first})

    def _aside(self, table: str, condition: str) -> None:
        self.sql.execute(_ASIDE.format(table=table, condition=condition))
        self.sql.execute(f"VACUUM FULL {table}")

    def _worker_of(self, queue: str) -> Workers:
        return Workers([sys.executable, "-m", "django", "autotask", "worker", "--queues", queue], 1)

    def _arguments(self, number: int) -> tuple[int, ...]:
        return (number, number % ACCOUNTS) if self.order.function == "one_per_account" else (number,)

    def _clone(self, table: str, id: str, different: tuple[str, ...], statement: str, count: int) -> None:
        found = self.sql.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %(table)s ORDER BY ordinal_position",
            {"table": table},
        )
        others = [name for (name,) in found if name not in different]
        columns = ", ".join([*different, *others])
        self.sql.execute(statement.format(columns=columns, others=", ".join(others)), {"id": id, "count": count})


DRIVER = Autotask
