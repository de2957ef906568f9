"""The base class of drivers."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import probe
from benchmarks.drivers.workers import Workers
from benchmarks.order import Order
from benchmarks.sql import Connection


class Driver(ABC):
    """One queue in one configuration, on the database that the ``PG*`` variables name.

    :ivar unfinished: a cheap query whose value is whether due tasks have not finished.
    :ivar own_metrics: metrics of this queue only, by name.
    :ivar look_every: seconds between two polls of an idle worker; 0 if it is notified.
    """

    unfinished: str
    own_metrics: ClassVar[dict[str, Callable[[Any], dict[str, Any]]]] = {}
    look_every = 0.0

    def __init__(self, order: Order) -> None:
        self.order = order
        self.config = order.config
        self.sql = Connection()
        self.reader = probe.Reader(Path(os.environ[probe.VARIABLE]))

    @abstractmethod
    def set_up(self) -> None:
        """Make the tables in an empty database."""

    @abstractmethod
    def connect(self) -> None:
        """Get ready to enqueue, on existing tables."""

    @abstractmethod
    def enqueue(self, number: int) -> object:
        """Enqueue one task, with its own commit."""

    @abstractmethod
    def worker_command(self) -> list[str]:
        """Return the arguments for Python that run a worker."""

    @abstractmethod
    def prefill(self, kind: str, count: int) -> None:
        """Add rows that are "future", not yet due, or "ended"."""

    def enqueue_many(self, count: int) -> None:
        """Enqueue tasks, numbered from 0, with the queue's own call for many.

        :raises NotImplementedError: it has none.
        """
        raise NotImplementedError("it has no call for many")

    def round_trip(self, number: int) -> None:
        """Enqueue a task and wait for its result, in the queue's own way.

        :raises NotImplementedError: it has none.
        """
        raise NotImplementedError("it has no way to wait for a result")

    def fill(self, count: int) -> None:
        """Enqueue tasks for a drain, in any way."""
        self.enqueue_many(count)

    def start_workers(self, count: int) -> Workers:
        """Start worker processes."""
        return Workers([sys.executable, *self.worker_command()], count)
