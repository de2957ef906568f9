"""The messages of one background worker: claim them in order, handle them, and record the outcomes one by one."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import background, claims, inbox
from autotask.store.ahead import Ahead
from autotask.store.errors import Trouble, trouble_of
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.texts.lines import describe, one_line
from autotask.worker import execution, steps
from autotask.worker.background.instance import Instance
from autotask.worker.gates import Gates
from autotask.worker.outage import Outage
from autotask.worker.outcome import Lost, Released
from autotask.worker.unfinished import Unfinished
from autotask.worker.unknown_tasks import UnknownTasks
from autotask.worker.writes import Record, Writes

logger = logging.getLogger("autotask.background")

#: Messages in one claim at most. It grows while handling them takes less than QUICK seconds: the others would wait for a
#: worker that is stopped, and what is put with a larger priority has to wait for all of them.
MOST_CLAIMED = 64
QUICK = 0.05

#: Seconds that a run takes at most whose outcome is recorded while the next message is handled: should that fail, it is tried
#: again after the end of the next one, which probably takes as long.
BRIEF = 0.01

#: Seconds between two tries to record outcomes at most, once the instance is asked to stop.
WHEN_ASKED = 0.1

#: Seconds after the moment of a retry at which to look for it: a worker makes it ready, and that may be a busy one.
LOOKS = (0.05, 0.5, 2.0)

#: Triggers that one run handles at most.
MOST_TRIGGERS = claims.MOST


class Inbox:
    """Claims and handles messages for an instance. Only the thread of the instance calls it.

    :param instance: of a background worker.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._lane = instance.lane
        self._is_one = len(instance.lanes) == 1
        self._limit = 1
        self._outage = Outage(f"handle the messages of the background worker {instance.worker.name}")
        #: When to look for messages that are retried later, on the monotonic clock.
        self._due: list[float] = []
        #: Whether messages may be claimed that nobody here knows of.
        self._unfinished = Unfinished()
        self._unsure = True
        #: The last outcome, while PostgreSQL records it, and what gives the connection back.
        self._last: tuple[Record, Ahead] | None = None
        self._lent = ExitStack()

    def handle_next(self) -> bool:
        """Handle the next messages, one by one; return whether there may be more."""
        tasks = self._handed() or self._claim(self._limit)
        if tasks and not self._is_one:
            self._instance.wake()  # another thread, for the next message
        began = time.monotonic()
        for number, task in enumerate(tasks):
            if not self._instance.may_run():
                self._release(tasks[number:])
                break
            ended = self._handle(task)
            self._record_next(ended)
            if self._unsure:
                break  # Its outcome may not be recorded: nothing may overtake it.
            if isinstance(ended[1], Lost):
                self._release(tasks[number + 1 :])  # It comes first again.
                break
        quick = time.monotonic() - began < QUICK
        if self._is_one:
            self._limit = min(MOST_CLAIMED, 2 * self._limit) if quick else max(1, self._limit // 2)
        self._put_down(tasks)
        if not tasks:
            self.settle()
        return bool(tasks) or self._unsure

    def settle(self) -> None:
        """Wait until the last outcome is recorded."""
        if self._last is not None:
            self._record_next(None)

    def wait(self) -> None:
        """Wait for a message, or until one is retried."""
        now = time.monotonic()
        self._due = [moment for moment in self._due if moment > now]
        self._instance.here.control.wait(min(self._due) - now if self._due else None)

    def handle_triggers(self) -> bool:
        """Run once for all triggers that wait; return whether there were any, or may be some that nobody here knows of."""
        tasks = self._claim(MOST_TRIGGERS)
        if not tasks:
            return self._unsure
        if not self._instance.may_run():
            self._release(tasks)
            return True
        first, ended = self._handle(tasks[0])
        if isinstance(ended, Outcome) and ended.state is State.CANCELLED:
            # Somebody has cancelled this one only.
            self._release(tasks[1:])
            self._record([(first, ended)])
        else:
            self._record([(first, ended), *((task, _like(ended, task)) for task in tasks[1:])])
        self._put_down(tasks)
        return True

    def _handle(self, task: ClaimedTask) -> Record:
        instance, parts, lane = self._instance, self._instance.parts, self._lane
        if task.cancel_requested or parts.is_cancelled(task):
            return task, steps.cancelled(task)
        lane.place.item, lane.lost = task, ""
        ended: Outcome | Released | Lost
        try:
            ended = execution.execute(task, parts.is_cancelled, parts.reporter, lane.place)
        finally:
            lane.place.item = None
        if lane.lost:
            ended = Lost(task, lane.lost)  # It is handled again, unless it has killed too many.
        instance.goes_on()
        if instance.interrupted:
            instance.ask()
        return task, ended

    def _handed(self) -> list[ClaimedTask]:
        """Return the messages that were handed over, unless others may have to come first: then claim them after these."""
        if self._unsure:
            return []
        in_hand = self._instance.in_hand
        with in_hand.lock:
            tasks = self._instance.handed.take()
            old = [task for task in tasks if claims.number(task.fence) <= in_hand.barrier]
            new = [task for task in tasks if task not in old]
            self._unfinished.add(new)
            in_hand.ids.update(task.id for task in new)
        if new:
            self._due.append(time.monotonic() + background.LOOK_AGAIN)
        self._release(old)  # unless that was done already
        return new

    def _claim(self, limit: int) -> list[ClaimedTask]:
        found: list[ClaimedTask] = []

        def claim() -> None:
            in_hand, handed = self._instance.in_hand, self._instance.handed
            with in_hand.lock, self._instance.parts.lending.borrow() as connection:
                if self._unsure:
                    handed.take()  # released with the others
                if handed.take_doubt() or self._unsure:
                    kept = in_hand.ids.union(handed.ids())
                    in_hand.barrier = inbox.release_all(connection, self._instance.address, kept)
                found[:] = inbox.take(connection, self._instance.address, limit, in_hand.ids)
                self._unfinished.add(found)
                in_hand.ids.update(task.id for task in found)

        self._try(claim)
        return found

    def _put_down(self, tasks: Sequence[ClaimedTask]) -> None:
        """Note that these messages are no longer claimed, except the one whose outcome is being recorded."""
        last = self._last and self._last[0][0]
        with self._instance.in_hand.lock:
            self._instance.in_hand.ids.difference_update(task.id for task in tasks if task is not last)

    def _record_next(self, record: Record | None) -> None:
        """Wait until the last outcome is recorded, then record one: if it is a brief success, while the next message is handled.

        :param record: None: there is none.
        """
        last, self._last = self._last, None
        following: Ahead | None = None

        def written(lent: ExitStack) -> Ahead | None:
            if record is None or not self._may_overlap(record[1]):
                return None
            borrow = self._instance.parts.lending.borrow
            connection = last[1].connection if last else lent.enter_context(borrow())
            return self._writes(connection).ahead(record, last and last[0])

        def go_on() -> None:
            nonlocal following
            with self._lent as lent:
                following = written(lent)
                if last is not None:
                    began = time.monotonic()
                    last[1].answer()
                    if time.monotonic() - began > BRIEF:
                        following = written(lent)  # It says how long ago the message has ended.
                if following is not None:
                    following.send()
                    self._lent = lent.pop_all()

        done = self._try(go_on) is None
        if record is not None and following is not None and done:
            self._last = record, following
        if last is not None:
            if done:
                self._recorded([last[0]])
            else:
                self._record([last[0]])
            self._put_down([last[0][0]])
        if record is not None and self._last is None:
            self._record([record])

    def _may_overlap(self, ended: Outcome | Released | Lost) -> bool:
        """Whether an outcome may be recorded while the next message is handled."""
        return self._is_one and isinstance(ended, Outcome) and ended.seconds < BRIEF and not self._instance.interrupted

    def _writes(self, connection: BaseDatabaseWrapper) -> Writes:
        reporter = self._instance.parts.reporter
        return Writes(*(lambda: connection, reporter, UnknownTasks(), Gates(lambda: None)), unfinished=self._unfinished)

    def _record(self, records: Sequence[Record]) -> None:
        """Record outcomes. If the database is away, wait for it: the next message must not overtake them."""
        instance = self._instance

        def write() -> None:
            with instance.parts.lending.borrow() as connection:
                for way, group in self._writes(connection).parted(records):
                    if group:
                        way(group)

        while (error := self._try(write)) is not None:
            if trouble_of(error) is Trouble.REFUSED:
                records = [_bare(record, error) for record in records]
            elif instance.interrupted or (instance.here.control.asked and not instance.parts.registration.is_fresh()):
                return  # They are rescued, or released by the caretaker, and run again.
        self._recorded(records)

    def _recorded(self, records: Sequence[Record]) -> None:
        instance = self._instance
        self._unfinished.forget([task for task, _ in records])
        self._expect(records)
        if instance.parts.count:
            instance.parts.count(records)
        instance.parts.reporter.forget([(task.id, task.fence) for task, _ in records])
        # They may be retried under the same ids.
        instance.parts.forget([task.id for task, _ in records])

    def _expect(self, records: Sequence[Record]) -> None:
        """Note when to look for those that come back."""
        now = time.monotonic()
        for _, ended in records:
            if isinstance(ended, Lost):
                self._due += [now + late for late in LOOKS]
            elif ended.delay:
                self._due += [now + ended.delay + late for late in LOOKS]

    def _release(self, tasks: Sequence[ClaimedTask]) -> None:
        if not tasks:
            return
        self.settle()
        self._record([(task, Released(task)) for task in tasks])

    def _try(self, act: Callable[[], None]) -> Exception | None:
        """Do something with the database; if that fails, wait a moment, and return the error."""
        try:
            act()
        except (DatabaseError, InterfaceError, OSError) as error:
            self._unsure = True
            seconds = self._outage.failed(error)
            if not self._instance.here.control.sleep(seconds):
                time.sleep(min(seconds, WHEN_ASKED))
            return error
        self._outage.succeeded()
        self._unsure = False
        return None


def _bare(record: Record, error: Exception) -> Record:
    """Return an error in place of an outcome that the database does not accept."""
    task, ended = record
    if not isinstance(ended, Outcome):
        return record
    message = f"its outcome could not be stored: {one_line(describe(error))}"
    return task, ended._replace(state=State.ERROR, value=None, error_message=message, traceback="")


def _like(ended: Outcome | Released | Lost, task: ClaimedTask) -> Outcome | Released | Lost:
    """Return the same outcome for another trigger of the same run."""
    if isinstance(ended, Outcome):
        return ended._replace(id=task.id, fence=task.fence)
    return Lost(task, ended.reason) if isinstance(ended, Lost) else Released(task, ended.delay)
