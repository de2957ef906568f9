"""autotask, through its public API."""

import asyncio
import sys

import django
from django.core.management import call_command
from django.utils.module_loading import import_string

from benchmarks.drivers import autotask_bare, autotask_claim, autotask_idle
from benchmarks.drivers.autotask_companion import Companion
from benchmarks.drivers.base import Driver
from benchmarks.drivers.workers import Workers

#: These copy a task that the public API has stored into many rows, and change only the columns that have to differ.
_FUTURE = """
INSERT INTO autotask_task ({columns})
SELECT gen_random_uuid(), 0, now() + interval '30 days' + n * interval '1 ms', NULL, {others}
FROM generate_series(1, %(count)s::int) AS n, (SELECT * FROM autotask_task WHERE id = %(id)s) AS t
"""
_ENDED = """
INSERT INTO autotask_result ({columns})
SELECT gen_random_uuid(), now() - n * interval '1 ms', now() + interval '1 day' - n * interval '1 ms', {others}
FROM generate_series(1, %(count)s::int) AS n, (SELECT * FROM autotask_result WHERE id = %(id)s) AS t
"""

#: The queue of the task whose result is copied.
_PREFILL = "prefill"


class Autotask(Driver):
    """autotask."""

    # Not "state IN (1, 2)": each half has an index, which is nearly empty in the end.
    unfinished = """
        SELECT EXISTS (SELECT 1 FROM autotask_task WHERE state = 1)
            OR EXISTS (SELECT 1 FROM autotask_task WHERE state = 2)
    """

    own_metrics = {
        "enqueue_beside_insert": autotask_bare.enqueue_beside_insert,
        "bulk_beside_copy": autotask_bare.bulk_beside_copy,
        "claim_buffers": autotask_claim.claim_buffers,
        "idle": autotask_idle.idle,
        "growth": autotask_idle.growth,
    }

    def set_up(self) -> None:
        django.setup()
        call_command("migrate", verbosity=0)

    def connect(self) -> None:
        django.setup()
        # Django has to be set up before tasks are defined.
        self._runner = asyncio.Runner()
        self.task = import_string(f"benchmarks.functions.{self.order.function}")

    def enqueue(self, number: int) -> object:
        return self.task(number)

    def enqueue_many(self, count: int) -> None:
        self.task.enqueue_many([(number,) for number in range(count)])

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
        return ["-m", "django", "autotask", "worker", *threads]

    def start_workers(self, count: int) -> Workers:
        return super().start_workers(count) if self.config == "default" else Companion()

    def prefill(self, kind: str, count: int) -> None:
        if kind == "future":
            id = str(self.task(0).id)
            self._clone("autotask_task", id, ("id", "state", "run_at", "ready_at"), _FUTURE, count)
            self.sql.execute("DELETE FROM autotask_task WHERE id = %(id)s", {"id": id})
        else:
            # In its own queue: tasks to drain may already wait.
            handle = self.task.using(queue=_PREFILL)(0)
            worker = Workers([sys.executable, *self.worker_command(), "--queues", _PREFILL], 1)
            handle.wait(timeout=30)
            worker.stop()
            self._clone("autotask_result", str(handle.id), ("id", "ended_at", "kept_until"), _ENDED, count)

    def _clone(self, table: str, id: str, different: tuple[str, ...], statement: str, count: int) -> None:
        found = self.sql.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %(table)s ORDER BY ordinal_position",
            {"table": table},
        )
        others = [name for (name,) in found if name not in different]
        columns = ", ".join([*different, *others])
        self.sql.execute(statement.format(columns=columns, others=", ".join(others)), {"id": id, "count": count})


DRIVER = Autotask
