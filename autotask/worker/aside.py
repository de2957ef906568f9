"""Outcomes that the database refuses in any form: set aside, and tried again once in a while."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.texts.lines import describe, one_line
from autotask.worker.writes import Record

logger = logging.getLogger("autotask.worker")

#: Seconds until an outcome is tried again, twice as long each time.
FIRST_WAIT = 30.0
LONGEST_WAIT = 900.0

#: The most outcomes that are kept, and the most bytes of their results and tracebacks. Of older ones only the fence is
#: kept: their tasks stay RUNNING until the worker ends.
MOST_KEPT = 500
MOST_BYTES = 16 * 2**20


@dataclass(slots=True)
class _Kept:
    record: Record
    at: float
    seconds: float

    @property
    def size(self) -> int:
        ended = self.record[1]
        return len(ended.value or b"") + len(ended.traceback) if isinstance(ended, Outcome) else 0


class Aside:
    """Outcomes that could not be recorded; their tasks are no longer held.

    Such a task stays RUNNING under the name of its worker, so that it is not run again and again: as long as the worker
    lives, the task is neither released nor rescued. When the worker ends, the attempt counts as lost like any other, and
    AUTOTASK_MAX_CRASHES limits how often it is run again.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[int, _Kept] = {}
        #: When each of them was set aside for the first time.
        self._since: dict[int, float] = {}

    def put(self, record: Record, error: Exception) -> None:
        """Set an outcome aside, and log it the first time."""
        task, _ = record
        with self._lock:
            known = task.fence in self._since
            before = self._kept.pop(task.fence, None)
            self._since.setdefault(task.fence, self._clock())
            seconds = min(2 * before.seconds, LONGEST_WAIT) if before else FIRST_WAIT
            self._kept[task.fence] = _Kept(record, self._clock() + seconds, seconds)
            self._make_room()
        if not known:
            logger.error(
                "The outcome of %s %s cannot be stored, and is set aside; it is tried again from time to time, and the task "
                "stays RUNNING until then: %s",
                task.name,
                task.id,
                one_line(describe(error)),
            )

    def _make_room(self) -> None:
        size = sum(kept.size for kept in self._kept.values())
        while len(self._kept) > MOST_KEPT or size > MOST_BYTES:
            size -= self._kept.pop(next(iter(self._kept))).size

    def has_long(self, task: ClaimedTask) -> bool:
        """Whether the outcome of a claim was set aside a while ago."""
        return self._clock() - self._since.get(task.fence, float("inf")) >= FIRST_WAIT

    def keeps(self, task: ClaimedTask) -> bool:
        """Whether the outcome of a claim is kept, to be tried again."""
        return task.fence in self._kept

    def forget(self, tasks: Sequence[ClaimedTask]) -> None:
        """Forget claims whose outcome was recorded after all."""
        if self._since:
            with self._lock:
                for task in tasks:
                    self._since.pop(task.fence, None)
                    self._kept.pop(task.fence, None)

    def fences(self) -> list[int]:
        """Return the fences of the claims whose outcome is not recorded."""
        with self._lock:
            return list(self._since)

    def due(self) -> list[Record]:
        """Return the records to try again now. They are due again later, unless they are forgotten before."""
        if not self._kept:
            return []  # as nearly always
        now, due = self._clock(), []
        with self._lock:
            for kept in self._kept.values():
                if kept.at <= now:
                    kept.at = now + kept.seconds
                    due.append(kept.record)
        return due
