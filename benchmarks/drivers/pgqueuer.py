"""PgQueuer: an asyncio worker on asyncpg, notified by NOTIFY, which claims and logs in batches."""

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator

import asyncpg
import pgqueuer
import psycopg
from pgqueuer.db import AsyncpgDriver, SyncPsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries, SyncQueries

from benchmarks import probe
from benchmarks.drivers.base import Driver

_NUMBER = struct.Struct("<q")

_FUTURE = """
INSERT INTO pgqueuer (priority, status, entrypoint, execute_after, heartbeat, created, updated)
SELECT 0, 'queued', 'nothing', now() + interval '30 days', now(), now(), now() FROM generate_series(1, %(count)s::int)
"""
# The log entries of a job that a worker has run.
_ENDED = """
INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority, created)
SELECT 1000000000 + n, status, 'nothing', 0, now()
FROM generate_series(1, %(count)s::int) AS n, unnest('{queued,picked,successful}'::pgqueuer_status[]) AS status
"""


@contextlib.asynccontextmanager
async def make_worker() -> AsyncIterator[pgqueuer.PgQueuer]:
    """Make the object that ``pgq run`` runs."""
    queue = pgqueuer.PgQueuer(AsyncpgDriver(await asyncpg.connect()))
    queue.entrypoint("nothing")(_in_thread if os.environ.get("BENCHMARK_FUNCTIONS") else _coroutine)
    yield queue


async def _coroutine(job: Job) -> None:
    probe.hit(_NUMBER.unpack(job.payload or b"")[0])


async def _in_thread(job: Job) -> None:
    # It takes only coroutines, so a plain function runs like this.
    await asyncio.to_thread(probe.hit, _NUMBER.unpack(job.payload or b"")[0])


class PgQueuer(Driver):
    """PgQueuer."""

    unfinished = "SELECT EXISTS (SELECT 1 FROM pgqueuer WHERE execute_after < now())"

    def set_up(self) -> None:
        asyncio.run(self._install())

    def connect(self) -> None:
        self._queries = SyncQueries(SyncPsycopgDriver(psycopg.connect(autocommit=True)))

    def enqueue(self, number: int) -> object:
        return self._queries.enqueue("nothing", _NUMBER.pack(number))

    def enqueue_many(self, count: int) -> None:
        payloads = [_NUMBER.pack(number) for number in range(count)]
        self._queries.enqueue(["nothing"] * count, payloads, [0] * count)

    def worker_command(self) -> list[str]:
        # As "pgq run" does.
        batch = 10 if self.config == "default" else 100
        if self.config == "functions":
            os.environ["BENCHMARK_FUNCTIONS"] = "1"
        worker = "benchmarks.drivers.pgqueuer:make_worker"
        return ["-c", f"import pgqueuer, uvloop; uvloop.run(pgqueuer.run({worker!r}, batch_size={batch}))"]

    def prefill(self, kind: str, count: int) -> None:
        self.sql.execute(_FUTURE if kind == "future" else _ENDED, {"count": count})

    async def _install(self) -> None:
        await Queries(AsyncpgDriver(await asyncpg.connect())).install()


DRIVER = PgQueuer
