"""Service: count the outcomes of tasks in memory, and add them to the statistics every few seconds."""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.signals import task_lost
from autotask.statistics import BOUNDS, Counts, bucket
from autotask.store import statistics
from autotask.store.finish import Outcome
from autotask.store.statistics import Key
from autotask.task import ClaimedTask, State
from autotask.texts.render import count
from autotask.worker.writes import Record

logger = logging.getLogger("autotask.worker")

#: Seconds between two writes: the most that is lost with a worker that is killed.
EVERY = 5.0

#: Seconds between two looks at the clock of the database, while there is nothing to write.
CLOCK_EVERY = 60.0

#: Seconds between two looks for rows that are too old, and between two pieces of them.
PRUNE_EVERY = 600.0
PAUSE = 0.05

#: Counts of that many minutes, names and queues are kept while they cannot be written.
MOST_KEPT = 20_000

#: Seconds from which the start of an attempt is counted in a minute of its own, and not in that of its end.
LONG = 5.0

_FIELDS = {State.ERROR: "failed", State.RETRY: "retried", State.CANCELLED: "cancelled"}


class Statistics:
    """Counts the outcomes that the database has accepted.

    One row for each minute, name and queue is shared by all workers. So that they do not queue up for it, each writes only
    once in a while.
    """

    doing = "write statistics"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._new: dict[Key, Counts] = {}
        self._unwritten: dict[Key, Counts] = {}
        #: The clock of the database less the monotonic one of this process.
        self._ahead = time.time() - time.monotonic()
        self._ask_at = float("-inf")
        self._prune_at = time.monotonic() + PRUNE_EVERY
        task_lost.connect(self._lost)

    def count(self, records: Sequence[Record]) -> None:
        """Count outcomes that are in the database now. Any thread may call this; it never raises."""
        try:
            groups: dict[tuple[str, str], list[tuple[ClaimedTask, Outcome]]] = {}
            for task, ended in records:
                if isinstance(ended, Outcome):
                    key = task.name, task.queue
                    if (group := groups.get(key)) is None:
                        group = groups[key] = []
                    group.append((task, ended))
            with self._lock:
                for (name, queue), group in groups.items():
                    self._count(name, queue, group)
        except Exception:
            logger.exception("Missing in the statistics: %s", count(len(records), "outcome"))

    def _count(self, name: str, queue: str, group: list[tuple[ClaimedTask, Outcome]]) -> None:
        # Each microsecond here is paid for each task: so no attribute of "counts" is written in the loop.
        ahead, done = self._ahead, State.DONE
        counts = self._at(ahead + time.monotonic(), name, queue)
        waited, ran = list[float](), list[float]()
        succeeded = 0
        for task, (_id, _fence, state, ended_at, seconds, _value, _type, _message, _trace, _delay, began, _) in group:
            if state is done:
                succeeded += 1
            else:
                self._add(counts, _FIELDS[state])
            if not began:
                continue
            ran.append(seconds)
            began_at = ahead + ended_at - seconds
            waits = began_at - task.ready_at.timestamp()
            if seconds >= LONG:
                self._began_before(began_at, waits, name, queue)
                continue
            waited.append(waits)
        counts.succeeded += succeeded
        counts.started += len(waited)
        counts.waited += max(0.0, sum(waited))
        counts.ran += sum(ran)
        _spread(waited, counts.waiting)
        _spread(ran, counts.running)

    def _began_before(self, began_at: float, waits: float, name: str, queue: str) -> None:
        counts = self._at(began_at, name, queue)
        counts.started += 1
        counts.waited += max(0.0, waits)
        counts.waiting[bucket(waits)] += 1

    def _at(self, moment: float, name: str, queue: str) -> Counts:
        """Return the counts of the minute with a moment."""
        key = Key(int(moment) // 60 * 60, name, queue)
        if (counts := self._new.get(key)) is None:
            counts = self._new[key] = Counts()
        return counts

    @staticmethod
    def _add(counts: Counts, field: str) -> None:
        setattr(counts, field, getattr(counts, field) + 1)

    def _lost(self, name: str, queue: str, ended: bool, **_: Any) -> None:
        with self._lock:
            counts = self._at(self._ahead + time.monotonic(), name, queue)
            counts.lost += 1
            counts.failed += ended

    def run_once(self, connection: BaseDatabaseWrapper) -> float:
        """Write what was counted, and now and then delete old rows."""
        now = time.monotonic()
        self._take()
        if self._unwritten or now >= self._ask_at:
            clock = statistics.add(connection, self._unwritten)
            self._unwritten = {}
            self.note_clock(clock, (now + time.monotonic()) / 2)
        if now >= self._prune_at:
            if statistics.prune(connection):
                return PAUSE
            self._prune_at = now + PRUNE_EVERY
        return EVERY

    def note_clock(self, clock: float, at: float) -> None:
        """Note the clock of the database, and the monotonic moment at which it showed that."""
        self._ahead = clock - at
        self._ask_at = at + CLOCK_EVERY

    def close(self) -> None:
        """Hear no more of lost tasks."""
        task_lost.disconnect(self._lost)

    def _take(self) -> None:
        with self._lock:
            taken, self._new = self._new, {}
        for key, counts in taken.items():
            if (known := self._unwritten.get(key)) is not None:
                known.add(counts)
            elif len(self._unwritten) < MOST_KEPT:
                self._unwritten[key] = counts


def _spread(values: Sequence[float], buckets: list[int]) -> None:
    """Count values in their buckets."""
    if not values:
        return
    first, last = bisect_left(BOUNDS, min(values)), bisect_left(BOUNDS, max(values))
    if first == last:  # as nearly always: those of a batch are alike
        buckets[first] += len(values)
        return
    for value in values:
        buckets[bisect_left(BOUNDS, value)] += 1
