"""Huey with its storage in PostgreSQL: a worker notified by NOTIFY deletes one task at a time from the table and runs it."""

import os
import sys

from huey import PostgresHuey

from benchmarks import probe
from benchmarks.drivers.base import Driver

# The address comes from the PG* variables.
huey = PostgresHuey("benchmark", create_tables=False)


@huey.task()
def nothing(number: int) -> int:
    """Only record that it has begun."""
    return probe.hit(number)


class Huey(Driver):
    """Huey."""

    unfinished = "SELECT EXISTS (SELECT 1 FROM huey_task)"

    def set_up(self) -> None:
        huey.storage.initialize_schema()

    def connect(self) -> None:
        pass  # It connects by itself.

    def enqueue(self, number: int) -> object:
        return nothing(number)

    def fill(self, count: int) -> None:
        for number in range(count):
            nothing(number)

    def round_trip(self, number: int) -> None:
        nothing(number).get(blocking=True, timeout=30)

    def worker_command(self) -> list[str]:
        consumer = os.path.join(os.path.dirname(sys.executable), "huey_consumer")
        threads = 4 if self.config == "threads4" else 1
        return [consumer, "benchmarks.drivers.huey.huey", "-q", "-w", str(threads)]

    def prefill(self, kind: str, count: int) -> None:
        raise NotImplementedError("scheduled and ended tasks are in other tables than waiting ones")


DRIVER = Huey
