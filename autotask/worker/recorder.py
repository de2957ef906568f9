"""Write outcomes down, as many as there are at once, until the database has them."""

import dataclasses
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from django.db import DatabaseError, InterfaceError

from autotask.conf import settings
from autotask.payload import describe
from autotask.signals import one_line
from autotask.store import finish
from autotask.store.connection import dedicated, is_weather
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker.outcome import GiveBack
from autotask.worker.weather import Weather

logger = logging.getLogger("autotask.worker")

#: Outcomes that are written with one statement at most.
LARGEST_BATCH = 200

#: Tries after which a batch that the database refuses, rather than misses, is written one by one.
TRIES_TOGETHER = 3

Record = tuple[ClaimedTask, Outcome | GiveBack]


class Recorder:
    """A thread with a connection of its own, so that writing outcomes and claiming do not wait for each other.

    :param worker_id: returns the present id of the worker.
    :param recorded: called with the ids whose claim is over, whether their outcome was accepted or not.
    """

    def __init__(self, worker_id: Callable[[], uuid.UUID], recorded: Callable[[Sequence[uuid.UUID]], None]) -> None:
        self._worker_id = worker_id
        self._recorded = recorded
        self._records: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._connection = dedicated("recorder")
        self._weather = Weather("record outcomes")
        self._thread = threading.Thread(target=self._run, name="autotask-recorder", daemon=True)
        self._closing = threading.Event()
        self.refused = 0
        self.put = self._records.put

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Write what is left and end the thread; return whether it could be done in so many seconds."""
        self._records.put(None)
        self._thread.join(seconds)
        # A thread that still waits for the database gives up now: its tasks are rescued from this worker's lease.
        self._closing.set()
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                self._write_until_done(batch)
            if last or self._closing.is_set():
                self._connection.close()
                return

    def _next_batch(self) -> tuple[list[Record], bool]:
        batch: list[Record] = []
        record = self._records.get()
        while record is not None:
            batch.append(record)
            if len(batch) == LARGEST_BATCH:
                return batch, False
            try:
                record = self._records.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _write_until_done(self, batch: list[Record]) -> None:
        outcomes = [record for _, record in batch if isinstance(record, Outcome)]
        self._persist(self._end, [outcome for outcome in outcomes if outcome.state is not State.RETRY])
        self._persist(self._retry, [outcome for outcome in outcomes if outcome.state is State.RETRY])
        back = [record for _, record in batch if isinstance(record, GiveBack)]
        if back:
            self._persist_release(back)
        self._recorded([task.id for task, _ in batch])

    def _persist(self, write: Callable[[Sequence[Outcome]], int], group: list[Outcome]) -> None:
        tries = 0
        while group and not self._closing.is_set():
            tries += 1
            try:
                stale = [] if write(group) == len(group) else self._stale(group)
            except (DatabaseError, InterfaceError) as error:
                self._wait(error)
                if tries >= TRIES_TOGETHER and not is_weather(error):
                    self._persist_apart(group, error)
                    return
                continue
            self._weather.succeeded()
            self._refuse(stale)
            return

    def _persist_apart(self, group: list[Outcome], error: Exception) -> None:
        """One of them cannot be stored: alone, it does not hold up the others, and is replaced by an error."""
        if len(group) > 1:
            for outcome in group:
                self._persist(self._retry if outcome.state is State.RETRY else self._end, [outcome])
            return
        message = f"its outcome could not be stored: {one_line(describe(error))}"
        self._persist(
            self._end,
            [dataclasses.replace(group[0], state=State.ERROR, value=None, error_message=message, traceback="")],
        )

    def _persist_release(self, back: list[GiveBack]) -> None:
        claims = [(given.task.id, given.task.fence, given.delay) for given in back]
        while not self._closing.is_set():
            try:
                finish.release(self._connection.wrapper, claims)
            except (DatabaseError, InterfaceError) as error:
                self._wait(error)
                continue
            self._weather.succeeded()
            return

    def _stale(self, group: list[Outcome]) -> list[Outcome]:
        known = finish.recorded(self._connection.wrapper, group)
        return [outcome for outcome in group if outcome.id not in known]

    def _end(self, outcomes: Sequence[Outcome]) -> int:
        return finish.end(self._connection.wrapper, outcomes, now=time.monotonic(), error_ttl=settings.ERROR_TTL)

    def _retry(self, outcomes: Sequence[Outcome]) -> int:
        return finish.retry(self._connection.wrapper, outcomes, now=time.monotonic(), worker_id=self._worker_id())

    def _wait(self, error: Exception) -> None:
        self._connection.close()
        self._closing.wait(self._weather.failed(error))

    def _refuse(self, stale: list[Outcome]) -> None:
        if not stale:
            return
        self.refused += len(stale)
        # One line however many there are: the first one stands for all.
        logger.warning(
            "%d outcomes refused, the first one %s of task %s: their claims are no longer this worker's; "
            "the tasks were given to another worker, cancelled or deleted meanwhile",
            len(stale),
            stale[0].state.name,
            stale[0].id,
        )
