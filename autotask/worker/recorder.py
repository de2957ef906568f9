"""Write outcomes to the database in batches, until it has them."""

import contextlib
import functools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from autotask.store import finish, model_rows
from autotask.store.connection import dedicated
from autotask.store.errors import Trouble, is_locked, trouble_of
from autotask.store.finish import Outcome
from autotask.store.isolation import Isolation
from autotask.task import ClaimedTask, State
from autotask.texts.lines import describe, one_line
from autotask.texts.render import count
from autotask.worker.answering import answer
from autotask.worker.aside import Aside
from autotask.worker.burden import Burden, weight
from autotask.worker.followers import Followers, no_followers
from autotask.worker.gates import Gates
from autotask.worker.hygiene import tidy_connections
from autotask.worker.outage import Outage
from autotask.worker.outcome import Advanced, Lost
from autotask.worker.reporter import Reporter
from autotask.worker.unfinished import Unfinished
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.writes import Record, Write, Writes, outcomes_of

logger = logging.getLogger("autotask.worker")

#: The most outcomes that one statement writes.
LARGEST_BATCH = 400

#: Bytes of results and tracebacks after which a batch ends. Its statement has about twice as many, and takes a fraction of a
#: second. Larger ones would hold up others, and the server closes the connection at one of more than 1 GB.
LARGEST_STATEMENT = 2 * 2**20

#: Larger outcomes than this, in bytes, are written after the smaller ones, which do not wait for them.
SMALL = 64 * 2**10

#: Seconds for which a batch waits for the lock of a row.
LOCK_TIMEOUT = 0.3

#: Seconds without an outcome after which the connection is closed: an idle worker should hold few of them.
IDLE = 20.0

#: Seconds until the next outcome is tried while all are refused.
NEXT = 0.1

#: In place of a record and its bytes: there is none yet, but some will come soon.
_NO_RECORD: Any = None
_SOON = -1


class Recorder:
    """A thread with a connection of its own, so that writing outcomes and claiming do not wait for each other.

    :param recorded: called with the tasks whose claim is over, whether their outcome was accepted or not.
    :param reporter: has the last progress of the tasks.
    :param unknown_tasks: takes note of unknown tasks that are released.
    :param gates: is notified of tasks that became ready.
    :param followers: those that wait for the slots of tasks; by default, nobody does.
    :param count: called with the records that the database has accepted; None: nobody counts them.
    :param unfinished: which claims have other tasks; by default, none is known to be over.
    """

    def __init__(
        self,
        recorded: Callable[[Sequence[ClaimedTask]], None],
        reporter: Reporter,
        unknown_tasks: UnknownTasks,
        gates: Gates,
        followers: Followers | None = None,
        count: Callable[[Sequence[Record]], None] | None = None,
        unfinished: Unfinished | None = None,
    ) -> None:
        self._unfinished = Unfinished() if unfinished is None else unfinished
        self._count = count
        self.followers = no_followers() if followers is None else followers
        self._recorded = recorded
        self._reporter = reporter
        self.burden = Burden()
        #: With their bytes. None is the last.
        self.records: queue.SimpleQueue[tuple[Record, int] | None] = queue.SimpleQueue()
        #: Records to write after the others, which do not wait for them.
        self._later: deque[tuple[Record, int]] = deque()
        self.connection = dedicated("recorder", LOCK_TIMEOUT)
        self._gates = gates
        self._writes = Writes(
            *(lambda: self.connection.wrapper, reporter, unknown_tasks, gates, self.followers),
            self._unfinished,
        )
        self._outage = Outage("record outcomes")
        self._isolation = Isolation()
        self._aside = Aside()
        self.thread = threading.Thread(target=self._run, name="autotask-recorder", daemon=True)
        self._closing = threading.Event()
        #: Held by the thread that uses the connection; when another one has used it.
        self._using = threading.Lock()
        self._used_at = float("-inf")
        self.refused = 0

    def put(self, record: Record) -> None:
        """Have a record written. Any thread may call this."""
        if record[0].flow is not None:
            self.followers.ended(*record)  # first, so that the thread that writes the record knows the heir
        if size := weight(record[1]):
            self.burden.put(size)
        self.records.put((record, size))

    def put_urgent(self, record: Record) -> None:
        """Have a record written for which somebody waits: by this thread itself, if the other one has nothing to do.

        Any thread may call this, as :meth:`put`. It saves the time in which the other thread wakes up.
        """
        if record[0].flow is None and not weight(record[1]) and self._using.acquire(blocking=False):
            try:
                if self._write_here(record):
                    return
            finally:
                self._using.release()
        self.put(record)

    def _write_here(self, record: Record) -> bool:
        """Write a record, and return whether that is done; if it fails, the other thread knows what to do."""
        if not self.connection.is_open or self._closing.is_set() or not self._is_empty() or self._isolation.rests():
            return False
        ways = [(write, group) for write, group in self._writes.parted([record]) if group]
        try:
            for write, group in ways:
                self._store(write, group)
        except Exception:  # perhaps of a lost connection; what was committed all the same is found by its fence
            self.connection.close()
            return False
        self._used_at = time.monotonic()
        return bool(ways)  # There is none for what the transaction of the function has recorded.

    def get_ready(self) -> None:
        """Have the connection opened if it is closed: there will be outcomes soon. Any thread may call this.

        To connect takes PostgreSQL longer than to record hundreds of outcomes, and it can do so while the tasks run.
        """
        if not self.connection.is_open:
            self.records.put((_NO_RECORD, _SOON))

    def start(self) -> None:
        """Start the thread."""
        self.thread.start()

    def stop(self, seconds: float) -> bool:
        """Write the rest and end the thread; return whether that was done within *seconds*."""
        self.records.put(None)
        self.thread.join(seconds)
        written = not self.thread.is_alive() and self._is_empty()
        # A thread that still waits for the database gives up now: its tasks are rescued from this worker's lease.
        self._closing.set()
        return written

    def try_again(self) -> None:
        """Put outcomes that were set aside and are due. Any thread may call this."""
        for record in self._aside.due():
            self.put(record)

    def unrecorded(self) -> list[int]:
        """Return the fences of the claims whose outcome was set aside. Any thread may call this."""
        return self._aside.fences()

    def _run(self) -> None:
        last = False
        while True:
            batch, size, ends = self._next_batch()
            last = last or ends
            with self._using:
                self._write(batch, size)
                self._write(*self._next_later())
                # Records that were put again, because their rows were locked, come after the mark of the end.
                if self._closing.is_set() or (last and self._is_empty()):
                    self.connection.close()
                    return

    def _is_empty(self) -> bool:
        return self.records.empty() and not self._later

    def _next_batch(self) -> tuple[list[Record], int, bool]:
        """Return small outcomes, their bytes, and whether they are the last; wait only if there is nothing at all."""
        batch: list[Record] = []
        total = 0
        # One by one while all are refused: the first that is accepted shows that others may be.
        most = 1 if self._isolation.rests() else LARGEST_BATCH
        try:
            found = self.records.get_nowait() if self._later else self._next()
            while found is not None:
                record, size = found
                if not size:
                    batch.append(record)  # as nearly always
                elif size == _SOON:
                    self._connect()
                elif size > SMALL:
                    self._later.append(found)
                else:
                    batch.append(record)
                    total += size
                if len(batch) == most or total > LARGEST_STATEMENT:
                    return batch, total, False
                found = self.records.get_nowait()
        except queue.Empty:
            return batch, total, False
        return batch, total, True

    def _next_later(self) -> tuple[list[Record], int]:
        batch: list[Record] = []
        total = 0
        while self._later and len(batch) < LARGEST_BATCH and total < LARGEST_STATEMENT:
            record, size = self._later.popleft()
            batch.append(record)
            total += size
        return batch, total

    def _connect(self) -> None:
        # Whatever it is: this thread has to continue. The next outcome tries again, and says what fails.
        with self._using, contextlib.suppress(Exception):
            self.connection.wrapper  # noqa: B018 - it is opened by this

    def _next(self) -> tuple[Record, int] | None:
        while True:
            try:
                return self.records.get(timeout=IDLE)
            except queue.Empty:
                with self._using:
                    if time.monotonic() - self._used_at >= IDLE:
                        self.connection.close()
                        break
        return self.records.get()

    def _write(self, batch: list[Record], size: int) -> None:
        if not batch:
            return
        try:
            self._write_until_done(batch)
        except Exception as error:  # an unforeseen one; without this thread no task of this worker would finish
            number = count(len(batch), "outcome")
            logger.exception("The recorder failed to write %s, and continues without", number)
            for record in batch:
                self._set_aside(record, error)
        self.burden.written(size)

    def _write_until_done(self, batch: list[Record]) -> None:
        if (way := self._writes.only_way(batch)) is not None:
            self._persist(way, batch)
            return
        if known := [record for record in batch if isinstance(record[1], (Outcome, Advanced)) and record[1].recorded]:
            answer(known)
            self._let_go(known)
            if self._count:
                self._count(known)
            self._gates.opened(sum(task.flow is not None for task, _ in known))
        for write, group in self._writes.parted(batch):
            self._persist(write, group)
        if any(isinstance(ended, Lost) for _, ended in batch):
            tidy_connections(unsure=True)  # receivers may have left them open

    def _persist(self, write: Write, group: list[Record]) -> None:
        while group and not self._closing.is_set():
            try:
                self._isolation.run(group, functools.partial(self._store, write), self._replace)
            except Exception as error:  # whatever it is, this thread has to continue: every task needs it
                # Try all of them again: outcomes that are recorded already are found by their fences.
                self.connection.close()
                seconds = self._outage.failed(error)
                if self._isolation.puts_off(error):
                    self._put_off(group)
                    self._closing.wait(seconds if self.records.empty() else NEXT)
                    return
                self._closing.wait(seconds)
            else:
                self._outage.succeeded()
                return

    def _put_off(self, group: list[Record]) -> None:
        """Try other outcomes first, which may not be at fault; those that were set aside have their own time."""
        for record in group:
            if not self._aside.keeps(record[0]):
                size = weight(record[1])
                self.burden.put(size)
                self._later.append((record, size))

    def _store(self, write: Write, group: Sequence[Record]) -> None:
        """Record outcomes, and let go of their tasks.

        :raises Exception: the database cannot be reached, or refuses them.
        """
        group = list(group)
        try:
            stale = [] if write(group) == len(group) else self._stale(group)
        except Exception as error:
            if not is_locked(error):
                raise
            self._store_unlocked(write, group)
            return
        if model_rows.tables:  # of other tasks, nobody awaits an answer
            answer(group, stale)
        self._refuse(stale)
        self._let_go(group)
        if self._count:
            self._count([record for record in group if record not in stale] if stale else group)

    def _let_go(self, group: list[Record]) -> None:
        tasks = [task for task, _ in group]
        self._unfinished.forget(tasks)
        self._reporter.forget((task.id, task.fence) for task in tasks)
        self._aside.forget(tasks)
        self.followers.forget(tasks)
        self._recorded(tasks)

    def _store_unlocked(self, write: Write, group: list[Record]) -> None:
        """Somebody has locked a row, for example by cancel() in a long transaction: the others do not wait for it."""
        if len(group) > 1:
            for record in group:
                self._store(write, [record])
        else:
            self.put(group[0])

    def _replace(self, record: Record, error: Exception) -> None:
        """Replace an outcome that is refused even on its own by an error, or set it aside.

        One that may not be at fault is set aside first, and replaced when it is refused again later.
        """
        task, outcome = record
        if isinstance(outcome, Outcome) and (trouble_of(error) is Trouble.REFUSED or self._aside.has_long(task)):
            message = f"its outcome could not be stored: {one_line(describe(error))}"
            bare = outcome._replace(state=State.ERROR, value=None, error_message=message, traceback="")
            try:
                self._store(self._writes.end if task.flow is None else self._writes.end_handing_on, [(task, bare)])
            except Exception as second:
                if trouble_of(second) is Trouble.OUTAGE:
                    raise
            else:
                self._isolation.accepted()
                return
        self._set_aside(record, error)

    def _set_aside(self, record: Record, error: Exception) -> None:
        task, _ = record
        try:
            self._aside.put(record, error)
            self._reporter.forget([(task.id, task.fence)])
            self._recorded([task])
        except Exception:  # as in _write(): others must not wait for it
            logger.exception("The outcome of %s %s could not be set aside properly", task.name, task.id)

    def _stale(self, group: list[Record]) -> list[Record]:
        known = finish.recorded(self.connection.wrapper, outcomes_of(group))
        return [record for record in group if isinstance(record[1], Outcome) and record[0].id not in known]

    def _refuse(self, stale: list[Record]) -> None:
        if not stale:
            return
        self.refused += len(stale)
        self.followers.lose(task for task, _ in stale)
        # One line for all of them.
        logger.warning(
            "%s refused, the first one %s of task %s: the claim is no longer this worker's; "
            "the task was given to another worker, cancelled or deleted meanwhile",
            count(len(stale), "outcome"),
            outcomes_of(stale)[0].state.name,
            stale[0][0].id,
        )
